"""The runtime's wheel, made again from the installed distribution: the same bytes everywhere.

What the operator has installed is what devices get, from an index or from a checkout alike. A
wheel is a zip file with three documents (binary distribution format, packaging.python.org); the
files are stored, not compressed, since zlib's versions differ in their output.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping

from edgectl.api import Record

_EPOCH = (1980, 1, 1, 0, 0, 0)
_WHEEL = b"Wheel-Version: 1.0\nGenerator: edgectl\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


class RuntimeFiles(Record, frozen=True, kw_only=True):
    """An installed distribution.

    Attributes:
        version: Its version.
        package: Its import package's name.
        files: The package's files by path below the package.
        metadata: The core metadata.
        entry_points: The entry points' document, or "".
        development: Whether it is a checkout, which changes without a new version.
    """

    name: str
    version: str
    package: str
    files: Mapping[str, bytes]
    metadata: str
    entry_points: str = ""
    development: bool = False


def content_digest(files: Mapping[str, bytes]) -> str:
    """Return the digest of a package's files, as the installer on the device computes it."""
    lines = "".join(
        f"{hashlib.sha256(content).hexdigest()} {path}\n" for path, content in sorted(files.items())
    )
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def wheel_name(runtime: RuntimeFiles) -> str:
    """Return the wheel's file name."""
    return f"{runtime.name.replace('-', '_')}-{runtime.version}-py3-none-any.whl"


def build_wheel(runtime: RuntimeFiles) -> bytes:
    """Return the wheel's bytes."""
    info = f"{runtime.name.replace('-', '_')}-{runtime.version}.dist-info"
    files = {f"{runtime.package}/{path}": content for path, content in runtime.files.items()}
    files[f"{info}/METADATA"] = runtime.metadata.encode()
    files[f"{info}/WHEEL"] = _WHEEL
    if runtime.entry_points:
        files[f"{info}/entry_points.txt"] = runtime.entry_points.encode()
    record = "".join(
        f"{path},sha256={_digest(content)},{len(content)}\n"
        for path, content in sorted(files.items())
    )
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for path, content in sorted(files.items()):
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return out.getvalue()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
