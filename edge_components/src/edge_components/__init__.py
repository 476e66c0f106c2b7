"""The device side of edgectl: what runs at the edge, whichever provider brought it there."""

from __future__ import annotations

__version__ = "0.1.0"
