"""Making deltas between the files of two package versions."""
