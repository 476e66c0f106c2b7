"""Open Inference Protocol v2 between bytes and numpy arrays, without any transport."""
