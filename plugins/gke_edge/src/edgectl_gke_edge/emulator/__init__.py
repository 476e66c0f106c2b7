"""The emulator of provider gke: Google's APIs, Kubernetes API servers and virtual nodes.

A teaching and testing tool: the way to real clusters imports nothing of it.
"""
