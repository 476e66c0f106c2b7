"""The package format: an OCI artifact built, signed, read, pushed and pulled.

Import the module that does the step (``build``, ``sign``, ``read``, ``registry``, …); nothing is
imported here, so that planning and ``--help`` never pay for it.
"""
