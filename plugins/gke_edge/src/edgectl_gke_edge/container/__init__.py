"""What runs inside a training's container: Python's standard library only."""
