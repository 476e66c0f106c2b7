"""A self-hosted fleet on one machine: a hub and real agents, for learning and for tests.

Never imported by the provider's real path.
"""
