"""Kubernetes' limits, and from which version on it has what we use; pure.

Sources: kubernetes.io, "Image volumes" (KEP-4639: alpha in 1.31, beta and off by default in 1.33,
on by default from 1.35); "Labels and Selectors"; etcd's limit of 1.5 MiB a request, of which a
ConfigMap takes 1 MiB; "Considerations for large clusters".
"""

from __future__ import annotations

IMAGE_VOLUMES_BY_DEFAULT = (1, 35)
IMAGE_VOLUMES_AT_ALL = (1, 31)
OLDEST = (1, 29)
"""The oldest version that what we make was checked against."""
MAX_NODES = 5000


def has_image_volumes(version: tuple[int, int], *, by_default: bool) -> bool:
    """Whether a cluster of that version has image volumes.

    Args:
        version: Major and minor version.
        by_default: Whether without anybody having switched them on.
    """
    return version >= (IMAGE_VOLUMES_BY_DEFAULT if by_default else IMAGE_VOLUMES_AT_ALL)
