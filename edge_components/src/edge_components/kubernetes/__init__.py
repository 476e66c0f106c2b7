"""What runs in a Kubernetes pod: ``edge-pod prepare`` before the runtime, ``edge-pod serve`` as it.

A pod is made for one release and never changes to another. So there is no switch here: a pod whose
preparation fails never becomes ready, and the pod of the release before goes on answering.
"""
