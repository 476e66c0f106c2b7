"""An MQTT server that is to a device as AWS IoT Core is: MQTT 5 and 3.1.1 over mutual TLS."""
