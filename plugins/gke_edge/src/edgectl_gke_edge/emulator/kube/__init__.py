"""A Kubernetes API server of our own, for the kinds that edgectl uses."""
