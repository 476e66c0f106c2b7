"""Many devices in one process, which speak DDI and pretend that a release runs."""
