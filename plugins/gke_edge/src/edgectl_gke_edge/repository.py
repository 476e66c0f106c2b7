"""Where an application's package, releases and images are in the registry; pure."""

from __future__ import annotations

import re

from edgectl_gke_edge.config import GkeConfig
from edgectl_gke_edge.names import slug

_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")


def repository(config: GkeConfig, application: str) -> str:
    """Return the application's repository, ``host/path/name``."""
    name = application if _PART.fullmatch(application) else slug(application)
    return f"{config.registry}/{name}"


def runtime_image(config: GkeConfig, version: str) -> str:
    """Return the runtime's image as the settings name it."""
    return config.runtime.image or f"{config.registry}/edge-runtime:{version}"


def volume_tag(number: int) -> str:
    """Return the tag of a release's image for image volumes."""
    return f"r{number}-volume"


def images_tag(number: int) -> str:
    """Return the tag of what says which images a release's pods are made of."""
    return f"r{number}-images"
