"""Text to ids of a fixed length, without a tokenizer: bytes, hashed words, or a vocabulary."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from edge_components.contract.pipeline import Text
from edge_components.golden import Array
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.reading import Item

_WORD = re.compile(r"\w+|[^\w\s]")


class TextStage:
    """Turns text into ids.

    Args:
        step: How.
        vocabulary: The lines of the vocabulary, where the step has one.
    """

    def __init__(self, step: Text, vocabulary: Sequence[str] = ()) -> None:
        self._step = step
        self._encode = _encoder(step, vocabulary)

    def __call__(self, item: Item) -> list[Item]:
        """Replace the text by its ids.

        Raises:
            PipelineError: The reading is no text.
        """
        text = item.value
        if not isinstance(text, str):
            if text.dtype.kind != "O" or text.size != 1:
                raise PipelineError(f"text takes a text, not an array of {list(text.shape)}")
            text = str(text.reshape(-1)[0])
        item.value = self._ids(text.lower() if self._step.lowercase else text)
        return [item]

    def _ids(self, text: str) -> Array:
        step = self._step
        ids = np.full(step.length, step.pad, dtype=np.int64)
        found = self._encode(text)[: step.length]
        ids[: len(found)] = found
        return ids


def words(text: str) -> list[str]:
    """Split into runs of letters and digits, and single other signs."""
    return _WORD.findall(text)


def _encoder(step: Text, vocabulary: Sequence[str]) -> Callable[[str], Sequence[int]]:
    offset, buckets, unknown = step.offset, step.buckets, step.unknown
    if step.method == "bytes":
        return lambda text: [byte + offset for byte in text.encode("utf-8", "surrogatepass")]
    if step.method == "hash":
        return lambda text: [
            zlib.crc32(word.encode("utf-8", "surrogatepass")) % buckets + offset
            for word in words(text)
        ]
    known: dict[str, int] = {}
    for number, line in enumerate(vocabulary):
        known.setdefault(line.lower() if step.lowercase else line, number + offset)
    return lambda text: [known.get(word, unknown) for word in words(text)]
