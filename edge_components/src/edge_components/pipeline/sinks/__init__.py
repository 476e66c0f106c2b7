"""The sinks: each takes answers somewhere, and none holds up the others."""
