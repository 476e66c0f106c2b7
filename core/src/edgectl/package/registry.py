"""Packages in OCI registries: the one place that others import to push and pull."""

from __future__ import annotations

from edgectl.package.download import pull
from edgectl.package.progress import Progress
from edgectl.package.transport import RetryPolicy
from edgectl.package.upload import PushResult, push

__all__ = ["Progress", "PushResult", "RetryPolicy", "pull", "push"]
