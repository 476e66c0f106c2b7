"""The controllers of a cluster; each brings one kind of object to what its specification says.

Behaviour follows kube-controller-manager's (kubernetes.io, "Workloads"); what decides is pure, and
the reading and writing stands around it.
"""
