"""A virtual Greengrass core device, a process that deploys and runs components."""
