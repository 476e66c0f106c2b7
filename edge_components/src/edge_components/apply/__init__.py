"""One update at a time on a device whose runtime somebody else keeps running.

``edge-agent serve`` is the runtime for such a supervisor, ``edge-agent apply`` brings it a release.
"""
