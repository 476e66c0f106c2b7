"""An Azure subscription in this machine: IoT Hub, registry, Azure ML and virtual edge devices."""
