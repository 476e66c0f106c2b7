"""What keeps the process small and its start short; all of it is best effort.

Measured with a tiny model: one memory arena instead of one for each thread saves 1.5 MB; numpy's
linear algebra, which nothing here uses, else keeps a thread and its buffers for each core.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os

_M_ARENA_MAX = -8  # malloc.h of glibc


def prepare() -> None:
    """Set what has to be set before numpy and ONNX Runtime are imported."""
    gc.disable()  # importing makes much that stays, and little garbage
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def settle() -> None:
    """Begin to collect garbage, without ever looking again at what is there now."""
    gc.freeze()
    gc.enable()
