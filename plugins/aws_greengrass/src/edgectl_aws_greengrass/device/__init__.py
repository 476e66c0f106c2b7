"""What is carried to the device as it is; nothing here is imported by the plugin."""
