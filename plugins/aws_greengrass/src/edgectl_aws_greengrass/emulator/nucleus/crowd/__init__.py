"""Many core devices in one process, which call the cloud and pretend their components."""
