"""NumPy archives: read as hostile, written with the same bytes everywhere.

Reading takes stored and deflated ``.npy`` members of plain types, never pickles, and allocates
only after size and shape agree. Writing stores members in sorted order with one date, so equal
arrays give equal files. Sources: the NPY format 1.0 and 2.0 (NumPy); APPNOTE 6.3 (ZIP).
"""

from __future__ import annotations

import io
import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from edgectl.errors import ModelError
from edgectl.model.runtime import Arrays

MAX_FILE_BYTES = 2 << 30
MAX_ARRAYS = 256
MAX_HEADER_CHARS = 10_000
_KINDS = "biufUS"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    SyntaxError,
    tokenize.TokenError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    OverflowError,
    RecursionError,
    MemoryError,
    RuntimeError,
    struct.error,
)


def read_npz(path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> Arrays:
    """Read an archive of arrays: name without ``.npy`` to array.

    Args:
        path: The file.
        max_bytes: Limit for the file and for all arrays together.

    Raises:
        ModelError: The file is missing, too large, no NumPy archive, or holds something else
            than plain arrays; the message names the file and the key.
    """
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise ModelError(f"'{path}' has {size} bytes, at most {max_bytes} are read")
        with zipfile.ZipFile(path) as archive:
            return _read_members(path, archive, max_bytes)
    except OSError as exc:
        raise ModelError(f"'{path}' cannot be read: {exc.strerror or exc}") from exc
    except _BROKEN as exc:
        raise ModelError(
            f"'{path}' is not a NumPy archive (.npz), or is damaged: {_short(exc)}",
            hint="write it with numpy.savez(path, **{'input.<name>': array})",
        ) from exc


def _read_members(path: Path, archive: zipfile.ZipFile, max_bytes: int) -> Arrays:
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    if len(members) > MAX_ARRAYS or total > max_bytes:
        raise ModelError(
            f"'{path}' holds {len(members)} arrays of {total} bytes; at most {MAX_ARRAYS} of "
            f"{max_bytes} are read"
        )
    arrays: Arrays = {}
    for member in members:
        key = member.filename.removesuffix(".npy")
        if key in arrays or key == member.filename:
            raise ModelError(f"'{path}' has an entry '{member.filename[:120]}' too many")
        if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise ModelError(f"'{path}': '{key[:120]}' is compressed in a way that is not read")
        with archive.open(member) as stream:
            data = stream.read(member.file_size + 1)
        try:
            arrays[key] = parse_npy(data)
        except _BROKEN as exc:
            raise ModelError(
                f"'{path}': '{key[:120]}' is not a plain array: {_short(exc)}",
                hint="numbers and text only; object arrays are never read",
            ) from exc
    return arrays


def parse_npy(data: bytes) -> np.ndarray[Any, np.dtype[Any]]:
    """Read one array in NPY form.

    Raises:
        ValueError: Its header is damaged, its type is not plain, or its bytes are not as many
            as shape and type say. Damage may also raise what Python's parser raises.
    """
    stream = io.BytesIO(data)
    major, _ = np.lib.format.read_magic(stream)
    if major not in {1, 2}:
        raise ValueError(f"NPY version {major} is not read")
    read = np.lib.format.read_array_header_1_0
    if major == 2:
        read = np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a header of Python 2 is read like any other
        shape, fortran, dtype = read(stream, max_header_size=MAX_HEADER_CHARS)
    if dtype.hasobject or dtype.kind not in _KINDS or dtype.itemsize == 0 or dtype.subdtype:
        raise ValueError(f"the type {str(dtype)[:60]} is not a plain number or text")
    body = memoryview(data)[stream.tell() :]
    if any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != len(body):
        raise ValueError(f"{len(body)} bytes do not make an array of shape {shape}"[:200])
    flat = np.frombuffer(body, dtype=dtype)
    array = flat.reshape(shape, order="F" if fortran else "C")
    return np.ascontiguousarray(array.astype(dtype.newbyteorder("="))).reshape(shape)


def npz_bytes(arrays: Arrays) -> bytes:
    """Return the archive of the arrays; equal arrays give equal bytes on any machine."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            info = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
            info.create_system = _UNIX
            info.external_attr = 0o644 << 16
            archive.writestr(info, _npy_bytes(arrays[name]))
    return out.getvalue()


def _npy_bytes(array: np.ndarray[Any, np.dtype[Any]]) -> bytes:
    little = np.asarray(array, order="C")
    little = little.astype(little.dtype.newbyteorder("<"), copy=False)
    out = io.BytesIO()
    np.lib.format.write_array(out, little, version=(1, 0), allow_pickle=False)
    return out.getvalue()


def _short(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:200] or type(exc).__name__
