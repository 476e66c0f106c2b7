"""What is done with a reading before inference, and with the outputs after it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edge_components.contract.pipeline_parts import Count, Name, Part, Seconds, Share, Size

Method = Literal["nearest", "bilinear", "bicubic", "box"]


class Step(Part, frozen=True, kw_only=True, tag_field="op"):
    """Something that is done."""


class Resize(Step, frozen=True, kw_only=True, tag="resize"):
    """Resize an image to ``[height, width]``."""

    size: tuple[int, int]
    method: Method = "bilinear"


class Crop(Step, frozen=True, kw_only=True, tag="crop"):
    """Cut ``[height, width]`` pixels out of an image.

    Attributes:
        size: Height and width of what is left.
        at: Top and left of it; None for the middle.
    """

    size: Size
    at: tuple[Annotated[int, Meta(ge=0)], Annotated[int, Meta(ge=0)]] | None = None


class Letterbox(Step, frozen=True, kw_only=True, tag="letterbox"):
    """Fit an image into ``[height, width]`` with its ratio kept, and fill the rest.

    Attributes:
        size: Height and width of the result.
        pad: The value of the fill, in every channel.
        method: How it is resized.
    """

    size: Size
    pad: float = 114.0
    method: Method = "bilinear"


class Grayscale(Step, frozen=True, tag="grayscale"):
    """Turn a colour image ``[h, w, 3]`` into ``[h, w]`` (ITU-R 601-2 luma)."""


class Scale(Step, frozen=True, kw_only=True, tag="scale"):
    """Multiply by ``factor``, then add ``offset``; the result is float32."""

    factor: float
    offset: float = 0.0


class Normalize(Step, frozen=True, kw_only=True, tag="normalize"):
    """Subtract ``mean`` and divide by ``std``, per channel of the last axis or one for all."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Transpose(Step, frozen=True, kw_only=True, tag="transpose"):
    """Reorder the axes, for example ``[2, 0, 1]`` for HWC to CHW."""

    axes: tuple[int, ...]


class Reshape(Step, frozen=True, kw_only=True, tag="reshape"):
    """Reshape to ``shape``; one dimension may be -1."""

    shape: tuple[int, ...]


class Cast(Step, frozen=True, kw_only=True, tag="cast"):
    """Convert to a datatype by its Open Inference Protocol name."""

    datatype: str


class Text(Step, frozen=True, kw_only=True, tag="text"):
    """Turn text into ``length`` ids (INT64) without a tokenizer.

    Attributes:
        length: How many ids; longer text is cut at its end, shorter text is filled.
        method: ``bytes``: the bytes of its UTF-8 form. ``hash``: CRC-32 of each word, modulo
            ``buckets``. ``vocabulary``: the number of each word's line in a file.
        vocabulary: A text file with one word a line; it travels in the package.
        buckets: How many ids ``hash`` has.
        offset: Added to every id of a byte or word; the ids below it are free for others.
        pad: The id of the fill.
        unknown: The id of a word that the vocabulary has not.
        lowercase: Whether case is ignored.
    """

    length: Annotated[int, Meta(ge=1, le=1 << 20)]
    method: Literal["bytes", "hash", "vocabulary"] = "bytes"
    vocabulary: str | None = None
    buckets: Annotated[int, Meta(ge=1, le=1 << 31)] = 1 << 15
    offset: Annotated[int, Meta(ge=0, le=1 << 31)] = 2
    pad: int = 0
    unknown: int = 1
    lowercase: bool = True

    def __post_init__(self) -> None:
        """Refuse a vocabulary that is missing or of no use.

        Raises:
            ValueError: With what is wrong.
        """
        if (self.method == "vocabulary") != (self.vocabulary is not None):
            raise ValueError("'vocabulary' names a file if, and only if, that is the method")


class Window(Step, frozen=True, kw_only=True, tag="window"):
    """Collect readings of a series into windows ``[size, ...]``; stateful.

    What it has collected survives a restart, and a change of the model where the steps up to
    this one are unchanged. An array with one axis more than its fellows counts as several
    readings.

    Attributes:
        size: Readings in a window.
        stride: Readings between the beginnings of two windows.
        rank: Axes of one reading: 1 for a row of numbers, 0 for single numbers.
        max_keys: Most series at once; the one that was silent longest is forgotten.
        max_gap_s: A pause longer than that begins the window anew; None for any.
    """

    size: Count
    stride: Count = 1
    rank: Annotated[int, Meta(ge=0, le=3)] = 1
    max_keys: Count = 1024
    max_gap_s: Seconds | None = None


class User(Step, frozen=True, kw_only=True, tag="user"):
    """A function that is installed on the device, run in a process of its own.

    Attributes:
        name: Of the entry point (group ``edge_components.steps``), or of an entry under
            ``pipeline.steps`` in the device's file. A package brings no code.
        timeout_s: A call that takes longer is killed, and its reading has failed.
        options: Handed to the function.
    """

    name: Name
    timeout_s: Seconds = 1.0
    options: dict[str, Any] = {}


class Softmax(Step, frozen=True, kw_only=True, tag="softmax"):
    """Softmax over the last axis of an output."""

    output: str | None = None


class Sigmoid(Step, frozen=True, kw_only=True, tag="sigmoid"):
    """The logistic function of every element of an output."""

    output: str | None = None


class Argmax(Step, frozen=True, kw_only=True, tag="argmax"):
    """The best class of an output: ``{"label", "index", "score"}``.

    ``labels`` is a text file with one label a line; in a package its path is under
    ``edgectl/assets/``. ``output`` is the tensor's name, by default the first float output.
    """

    labels: str | None = None
    output: str | None = None


class TopK(Step, frozen=True, kw_only=True, tag="top_k"):
    """The ``k`` best classes of an output, best first."""

    k: int
    labels: str | None = None
    output: str | None = None


class Value(Step, frozen=True, kw_only=True, tag="value"):
    """One number of an output as the answer's ``value``: a regression, an anomaly score.

    Attributes:
        index: Which element, counted over the whole output.
        output: The tensor's name, by default the first float output.
    """

    index: Annotated[int, Meta(ge=0)] = 0
    output: str | None = None


class DecodeBoxes(Step, frozen=True, kw_only=True, tag="decode_boxes"):
    """Turn a detector's outputs into boxes in the pixels of the picture that came in.

    Crop, resize and letterbox before inference are undone, and boxes are cut at the picture's
    edges.

    Attributes:
        layout: ``cxcywh`` (middle and size) or ``xyxy`` (corners).
        boxes: The output with the boxes ``[N, 4]``, or with boxes and scores ``[N, 4 + classes]``;
            by default the first float output.
        scores: The output with the scores, ``[N, classes]`` or ``[N]``; None where they follow
            the box in one row.
        classes: The output with the class of each box ``[N]``; None where scores say it.
        transposed: Whether the outputs are ``[4 + classes, N]``.
        objectness: Whether the score of the box itself stands before those of its classes, to be
            multiplied with them.
        normalized: Whether coordinates are 0 to 1 of the model's picture.
        min_score: Boxes below it are left out.
        max_candidates: The best so many go on.
        labels: A text file with one label a line.
    """

    layout: Literal["cxcywh", "xyxy"] = "cxcywh"
    boxes: str | None = None
    scores: str | None = None
    classes: str | None = None
    transposed: bool = False
    objectness: bool = False
    normalized: bool = False
    min_score: Share = 0.25
    max_candidates: Annotated[int, Meta(ge=1, le=1 << 16)] = 1000
    labels: str | None = None


class Nms(Step, frozen=True, kw_only=True, tag="nms"):
    """Of boxes that overlap keep the best (greedy non-maximum suppression).

    Attributes:
        iou: Overlap (intersection over union) above which the lesser box goes.
        per_class: Whether only boxes of one class compete.
        max_boxes: The best so many are kept.
    """

    iou: Share = 0.5
    per_class: bool = True
    max_boxes: Annotated[int, Meta(ge=1, le=1 << 16)] = 100


class Threshold(Step, frozen=True, kw_only=True, tag="threshold"):
    """Drop an answer whose score is below ``min_score`` (the sink does not get it)."""

    min_score: float


PreprocessStep = (
    Resize
    | Crop
    | Letterbox
    | Grayscale
    | Scale
    | Normalize
    | Transpose
    | Reshape
    | Cast
    | Text
    | Window
    | User
)
PostprocessStep = Softmax | Sigmoid | Argmax | TopK | Value | DecodeBoxes | Nms | Threshold | User

# The one rule for files that a step names: they stand in a field of one of these names, and
# travel in the package.
ASSET_FIELDS = ("labels", "vocabulary")


def named_assets(step: Step) -> dict[str, str]:
    """Return the files that a step names, by the field that names them."""
    found = {field: getattr(step, field, None) for field in ASSET_FIELDS}
    return {field: name for field, name in found.items() if isinstance(name, str)}


def rename_assets(step: Step, names: dict[str, str]) -> Step:
    """Return the step with other names of its files, by field."""
    return msgspec.structs.replace(step, **names)
