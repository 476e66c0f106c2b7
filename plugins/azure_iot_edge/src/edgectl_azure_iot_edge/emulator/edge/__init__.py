"""A virtual IoT Edge device: edgeAgent, edgeHub and the workload API in one process."""
