"""The pipeline on the device: source, preprocess, infer, postprocess, sink."""
