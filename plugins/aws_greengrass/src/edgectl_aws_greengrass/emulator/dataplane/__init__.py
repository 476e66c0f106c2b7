"""What a core device asks over HTTPS with its certificate: the data plane and credentials."""
