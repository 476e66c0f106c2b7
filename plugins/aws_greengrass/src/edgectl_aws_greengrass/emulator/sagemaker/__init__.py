"""Training jobs that really run, and what moto lacks of the model registry."""
