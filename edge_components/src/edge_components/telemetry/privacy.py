"""What of a prediction leaves the device: the release's ``record`` and ``redact``.

A name in ``redact`` hides that attribute, everything below it (``input.x`` hides ``input.x[2]``
and ``input.x.psi``), and ``*`` stands for any characters. ``input.x[2]`` hides one column of a
tensor and leaves the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from edge_components.contract.telemetry import Value

Array = npt.NDArray[np.generic]
Record = Literal["none", "output", "input+output"]

MAX_ELEMENTS = 256
MAX_CHARACTERS = 4096
_COLUMN = re.compile(r"(.*)\[(\d+)\]", re.DOTALL)


class Policy:
    """What is recorded.

    Attributes:
        record: ``none`` of a prediction, its ``output`` (class and score), or ``input+output``
            (the tensors' values too).
    """

    def __init__(self, record: Record = "output", redact: tuple[str, ...] = ()) -> None:
        self.record = record
        below = "|".join(re.escape(name).replace(r"\*", ".*") for name in redact)
        self._hidden = re.compile(rf"(?:{below})(?:[.\[].*)?", re.DOTALL) if below else None
        columns = [found for name in redact if (found := _COLUMN.fullmatch(name))]
        self._columns = [(found[1], int(found[2])) for found in columns]

    def hides(self, name: str) -> bool:
        """Whether an attribute of this name stays on the device."""
        return self._hidden is not None and self._hidden.fullmatch(name) is not None

    def allowed(self, attributes: Mapping[str, Value]) -> dict[str, Value]:
        """Return the attributes that may leave the device."""
        return {name: value for name, value in attributes.items() if not self.hides(name)}

    def tensor(self, name: str, array: Array) -> dict[str, Value]:
        """Return a tensor's attributes: its values as JSON and its shape; only that if large."""
        if self.hides(name):
            return {}
        found: dict[str, Value] = {f"{name}.shape": "x".join(map(str, array.shape)) or "scalar"}
        if array.size <= MAX_ELEMENTS and array.dtype != np.uint16:
            text = msgspec.json.encode(self._plain(name, array)).decode()
            if len(text) <= MAX_CHARACTERS:
                found[name] = text
        return self.allowed(found)

    def _plain(self, name: str, array: Array) -> object:
        hidden = {column for tensor, column in self._columns if tensor == name}
        if array.dtype == np.object_:
            texts = [_text(value) for value in array.reshape(-1).tolist()]
            array = np.array(texts, dtype=np.object_).reshape(array.shape)
        if not hidden or not array.ndim:
            return array.tolist()
        masked = array.astype(np.object_)
        masked[..., [column for column in hidden if column < array.shape[-1]]] = None
        return masked.tolist()


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
