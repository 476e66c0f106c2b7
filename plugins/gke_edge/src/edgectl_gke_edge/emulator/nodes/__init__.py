"""Virtual nodes and the controllers of a cluster, as clients of any Kubernetes API server.

Nothing here knows which API server it talks to: the emulator's own, or a real kube-apiserver. Pods
that are bound to a virtual node really run, as processes in name spaces of their own.
"""
