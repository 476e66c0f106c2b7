"""The pipeline: what happens to a reading on its way to an answer.

``source → preprocess → infer → postprocess → sink``. The same types validate the project file
and drive the device, so a step that the device cannot do is refused where it is written.
A step in the project file is a mapping of one key, the step's kind; here it is tagged.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class DirectorySource(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="directory",
):
    """Files that appear in a folder: images (png, jpg, bmp, pgm), ``.npy`` arrays, ``.json``.

    Attributes:
        path: The folder on the device.
        pattern: A glob for the file's name.
        poll_s: Seconds between looks.
        after: What happens to a file that was read: ``delete`` it, ``keep`` it in place (it is
            remembered), or ``move`` it to the subfolder ``done``.
    """

    path: str
    pattern: str = "*"
    poll_s: float = 1.0
    after: Literal["delete", "keep", "move"] = "move"


class DirectorySink(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="directory",
):
    """Answers as one JSON file per reading, written whole or not at all."""

    path: str
    max_bytes: int = 64 << 20


class Resize(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="op",
    tag="resize",
):
    """Resize an image to ``[height, width]``."""

    size: tuple[int, int]
    method: Literal["nearest", "bilinear", "bicubic", "box"] = "bilinear"


class Grayscale(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="grayscale"
):
    """Turn a colour image ``[h, w, 3]`` into ``[h, w]`` (ITU-R 601-2 luma)."""


class Scale(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="op",
    tag="scale",
):
    """Multiply by ``factor``, then add ``offset``; the result is float32."""

    factor: float
    offset: float = 0.0


class Normalize(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="op",
    tag="normalize",
):
    """Subtract ``mean`` and divide by ``std``, per channel of the last axis or one for all."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Transpose(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="op",
    tag="transpose",
):
    """Reorder the axes, for example ``[2, 0, 1]`` for HWC to CHW."""

    axes: tuple[int, ...]


class Reshape(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="op",
    tag="reshape",
):
    """Reshape to ``shape``; one dimension may be -1."""

    shape: tuple[int, ...]


class Cast(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="op",
    tag="cast",
):
    """Convert to a datatype by its Open Inference Protocol name."""

    datatype: str


class Argmax(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="op",
    tag="argmax",
):
    """The best class of an output: ``{"label", "index", "score"}``.

    ``labels`` is a text file with one label a line; in a package its path is under
    ``edgectl/assets/``. ``output`` is the tensor's name, by default the first float output.
    """

    labels: str | None = None
    output: str | None = None


class TopK(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="op",
    tag="top_k",
):
    """The ``k`` best classes of an output, best first."""

    k: int
    labels: str | None = None
    output: str | None = None


class Softmax(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="op",
    tag="softmax",
):
    """Softmax over the last axis of an output."""

    output: str | None = None


class Threshold(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="op",
    tag="threshold",
):
    """Drop an answer whose score is below ``min_score`` (the sink does not get it)."""

    min_score: float


PreprocessStep = Resize | Grayscale | Scale | Normalize | Transpose | Reshape | Cast
PostprocessStep = Argmax | TopK | Softmax | Threshold
Source = DirectorySource
Sink = DirectorySink


class Pipeline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What runs on the device around the model; every part may be missing."""

    source: Source | None = None
    preprocess: tuple[PreprocessStep, ...] = ()
    postprocess: tuple[PostprocessStep, ...] = ()
    sink: Sink | None = None
