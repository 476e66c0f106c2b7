"""The device's inference server: Open Inference Protocol v2 over HTTP, metrics and control."""
