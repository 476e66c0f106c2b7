"""A device of Azure IoT Edge: the module that runs under edgeAgent and talks to edgeHub.

``edge-module`` keeps the runtime running, applies the release that its twin names, reports, answers
direct methods and carries the runtime's telemetry, over the one connection that a module has.
"""
