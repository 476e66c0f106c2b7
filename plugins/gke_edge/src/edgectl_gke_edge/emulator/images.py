"""The images that the emulator's registry has from the start: small layers over this machine.

A virtual node lays such an image over this machine's own folders, so that the programs that are
installed here run in it. It is pulled, checked by digest and started as any other image.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from edgectl.api import append_layer
from edgectl_gke_edge.emulator.nodes.kubelet.rootfs import HOST_MARK

PATH_PREFIX = "edgectl"
RUNTIME = f"{PATH_PREFIX}/edge-runtime"
PYTHON = "library/python"
BIN = "opt/edgectl/bin"
_PATH = f"/{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROGRAMS = {
    "edge-pod": "edge_components.kubernetes.main",
    "edge-agent": "edge_components.agent.main",
    "edge-runtime": "edge_components.runtime.main",
}


def push_image(registry: str, repository: str, tag: str, programs: dict[str, str]) -> str:
    """Push an image over this machine; return its digest.

    Args:
        registry: ``host:port``.
        repository: Where it goes.
        tag: Its tag.
        programs: Commands beside ``python``, and the module that each runs.

    Raises:
        RegistryError: The registry refused, or could not be reached.
    """
    with tempfile.TemporaryDirectory(prefix="edgectl-image-") as name:
        folder = Path(name)
        (folder / HOST_MARK).write_text("this image lies over the machine of the emulator\n")
        for command in ("python", "python3"):
            _script(folder / BIN / command, "")
        for command, module in programs.items():
            _script(folder / BIN / command, f"-m {module}")
        target = f"{registry}/{repository}:{tag}"
        return append_layer("scratch", folder, target, environment={"PATH": _PATH}).digest


def push_images(registry: str, version: str) -> dict[str, str]:
    """Push the runtime's image and one with Python; return the names with their digests."""
    names = {}
    for repository, tag, programs in ((RUNTIME, version, _PROGRAMS), (PYTHON, "3", {})):
        digest = push_image(registry, repository, tag, programs)
        names[repository] = f"{registry}/{repository}@{digest}"
    return names


def _script(path: Path, arguments: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
    path.chmod(0o755)
