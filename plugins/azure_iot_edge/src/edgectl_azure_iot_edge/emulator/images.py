"""Makes small container images and puts them into a registry: what an emulator seeds.

edgectl's base image is published as a real image with Python and ``edge-module`` in it. The one
that an emulator has names the same entry point and brings nothing, so that it is there without a
download; a virtual device lends it this machine's programs.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import urllib3

from edgectl.api import Record

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
PLATFORMS = ("amd64", "arm64")
_TIMEOUT = urllib3.Timeout(connect=5.0, read=30.0)
_ABOUT = """edgectl's runtime image as an emulator has it: it names its entry point and lends the
rest from the machine that it runs on. The published image has Python and edge-module in it.
"""


class ImageContent(Record, frozen=True, kw_only=True):
    """What an image is to be.

    Attributes:
        files: Path (without the leading slash) → content; one ending in ``!`` may be run.
        config: Docker's: ``Entrypoint``, ``Cmd``, ``Env``, ``WorkingDir``, …
        platforms: Architectures; one makes no index.
    """

    files: dict[str, bytes] = {}
    config: dict[str, Any] = {}
    platforms: tuple[str, ...] = PLATFORMS


def runtime_image() -> ImageContent:
    """Return the base image that modules are made of."""
    return ImageContent(
        files={"usr/share/edgectl/image.txt": _ABOUT.encode()},
        config={
            "Entrypoint": ["edge-module"],
            "Env": [
                "EDGECTL_CONFIG=/etc/edgectl/device.toml",
                "EDGECTL_REGISTRY_AUTH=/etc/edgectl/registry.json",
            ],
            "WorkingDir": "/",
        },
    )


class Pusher:
    """Puts images into one repository.

    Args:
        url: The registry's address (``https://host:port``).
        trust: PEM file of the authorities to trust, or None.
        authorization: Value of the header, or "".
    """

    def __init__(
        self, url: str, repository: str, *, trust: Path | None = None, authorization: str = ""
    ) -> None:
        self._base = f"{url}/v2/{repository}"
        self._http = urllib3.PoolManager(
            ca_certs=None if trust is None else str(trust), timeout=_TIMEOUT
        )
        self._headers = {"Authorization": authorization} if authorization else {}

    def push(self, content: ImageContent, tag: str) -> str:
        """Put an image under a tag; return its digest.

        Raises:
            OSError: The registry refuses it or does not answer.
        """
        layer, plain = _layer(content.files)
        self._blob(layer)
        entries = []
        for architecture in content.platforms:
            config = _config(content, architecture, plain)
            self._blob(config)
            manifest = _manifest(config, layer)
            digest = self._manifest(_digest(manifest), manifest, MANIFEST_TYPE)
            entries.append(
                {
                    "mediaType": MANIFEST_TYPE,
                    "digest": digest,
                    "size": len(manifest),
                    "platform": {"os": "linux", "architecture": architecture},
                }
            )
            if len(content.platforms) == 1:
                return self._manifest(tag, manifest, MANIFEST_TYPE)
        index = _json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries})
        return self._manifest(tag, index, INDEX_TYPE)

    def _blob(self, data: bytes) -> None:
        digest = _digest(data)
        if self._call("HEAD", f"{self._base}/blobs/{digest}", ok=(200, 404)).status == 200:
            return
        place = self._call("POST", f"{self._base}/blobs/uploads/", ok=(202,)).headers["Location"]
        if place.startswith("/"):
            place = self._base.split("/v2/")[0] + place
        separator = "&" if "?" in place else "?"
        self._call("PUT", f"{place}{separator}digest={digest}", body=data, ok=(201,))

    def _manifest(self, name: str, data: bytes, kind: str) -> str:
        self._call("PUT", f"{self._base}/manifests/{name}", body=data, kind=kind, ok=(201,))
        return _digest(data)

    def _call(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        kind: str = "application/octet-stream",
        ok: tuple[int, ...],
    ) -> urllib3.BaseHTTPResponse:
        headers = {**self._headers, "Content-Type": kind}
        try:
            answer = self._http.request(method, url, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as exc:
            raise OSError(f"{method} {url}: {exc}") from exc
        if answer.status not in ok:
            raise OSError(f"{method} {url}: {answer.status} {answer.data[:200]!r}")
        return answer


def _layer(files: Mapping[str, bytes]) -> tuple[bytes, str]:
    """Return a layer, packed, and its digest, unpacked."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name.rstrip("!"))
            entry.size = len(content)
            entry.mode = 0o755 if name.endswith("!") else 0o644
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0), _digest(plain.getvalue())


def _config(content: ImageContent, architecture: str, layer: str) -> bytes:
    return _json(
        {
            "architecture": architecture,
            "os": "linux",
            "config": content.config,
            "rootfs": {"type": "layers", "diff_ids": [layer]},
            "history": [{"created_by": "edgectl emulator"}],
        }
    )


def _manifest(config: bytes, layer: bytes) -> bytes:
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": _digest(config), "size": len(config)},
            "layers": [{"mediaType": LAYER_TYPE, "digest": _digest(layer), "size": len(layer)}],
        }
    )


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
