"""What runs on a virtual node: pods' images, volumes, containers and probes, and their status."""
