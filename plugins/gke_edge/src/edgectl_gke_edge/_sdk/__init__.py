"""What talks to clusters, registries and Google; imported inside the hooks only."""
