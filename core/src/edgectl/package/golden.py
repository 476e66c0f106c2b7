"""How many samples a golden set has, read from the array's header without numpy.

``.npz`` is a zip of ``.npy`` files; a header says the array's shape. Nothing is decompressed
beyond the header. Source: numpy's NEP 1, "A simple file format for NumPy arrays".
"""

from __future__ import annotations

import ast
import struct
import zipfile
from pathlib import Path
from typing import IO

from edgectl.errors import PackageError

_MAGIC = b"\x93NUMPY"
_MAX_HEADER_BYTES = 64 << 10


def golden_samples(path: Path) -> int:
    """Return the first dimension of the arrays in a golden set, 1 if they have none.

    Raises:
        PackageError: It is not an ``.npz`` file with at least one array.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".npy"))
            if not names:
                raise PackageError(f"the golden set '{path}' holds no array")
            shapes = []
            for name in names:
                with archive.open(name) as member:
                    shapes.append(_shape(member))
    except (OSError, zipfile.BadZipFile, ValueError, SyntaxError, struct.error) as exc:
        raise PackageError(f"the golden set '{path}' cannot be read: {exc}") from exc
    return max((shape[0] for shape in shapes if shape), default=1)


def _shape(member: IO[bytes]) -> tuple[int, ...]:
    start = member.read(8)
    if start[:6] != _MAGIC:
        raise ValueError("an array has no header")
    wide = start[6] >= 2
    (length,) = struct.unpack("<I" if wide else "<H", member.read(4 if wide else 2))
    if length > _MAX_HEADER_BYTES:
        raise ValueError("an array's header is too long")
    header = ast.literal_eval(member.read(length).decode("latin-1"))
    return tuple(int(size) for size in header["shape"])
