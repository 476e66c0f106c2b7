"""Many devices in one process that only pretend to run modules, with every call to the hub."""
