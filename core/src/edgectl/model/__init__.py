"""What is done with a model before it is packaged: read, check, compare, quantise, judge.

The package itself imports nothing. ``gates`` is light; the other modules bring onnx, onnxruntime
and numpy with them, so import them where a command has decided to look at a model.
"""
