"""edgectl provider azure: Azure ML, IoT Hub and IoT Edge."""
