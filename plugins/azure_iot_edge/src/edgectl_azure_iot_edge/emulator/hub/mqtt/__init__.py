"""The hub's side of devices and modules: MQTT 3.1.1 over TLS with shared access signatures."""
