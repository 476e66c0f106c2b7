"""Azure Machine Learning of the emulated subscription: one workspace whose jobs really run."""
