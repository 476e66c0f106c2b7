"""IoT Hub: the service API, the background work on deployments, and the devices' side over MQTT."""
