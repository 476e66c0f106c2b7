"""Pipeline steps as people write them, and as devices read them.

In the project file a step is a mapping of one key, its operation: ``{resize: [8, 8]}`` or
``{argmax: {labels: labels.txt}}``, or only the operation's name where it takes nothing. On the
device it is a tagged record of ``edge_components.contract.pipeline``.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import msgspec

from edge_components.contract import pipeline as contract
from edgectl.project.parts import by_tag, part_schemas, to_seconds
from edgectl.project.spec import Step
from edgectl.project.validate import InvalidKeyError

ASSETS = "edgectl/assets"
_SHORT = {
    "resize": "size",
    "crop": "size",
    "letterbox": "size",
    "text": "length",
    "window": "size",
    "user": "name",
    "value": "index",
    "nms": "iou",
    "scale": "factor",
    "transpose": "axes",
    "reshape": "shape",
    "cast": "datatype",
    "top_k": "k",
    "threshold": "min_score",
}


PREPROCESS = by_tag(contract.PreprocessStep)
POSTPROCESS = by_tag(contract.PostprocessStep)


def read_step(step: Step, kinds: dict[str, Any], key: str) -> Any:
    """Turn one written step into its record.

    Raises:
        InvalidKeyError: Unknown operation or wrong options; ``key`` is where it stands.
    """
    operation, options = _split(step, key)
    if operation not in kinds:
        known = ", ".join(sorted(kinds))
        raise InvalidKeyError(f"{key}.{operation}", f"unknown step (known here: {known})")
    if not isinstance(options, dict):
        if operation not in _SHORT:
            raise InvalidKeyError(f"{key}.{operation}", "takes a mapping of options")
        options = {_SHORT[operation]: options}
    plain = to_seconds(options, kinds[operation], f"{key}.{operation}")
    try:
        return msgspec.convert({"op": operation, **plain}, kinds[operation])
    except msgspec.ValidationError as exc:
        raise InvalidKeyError(f"{key}.{operation}", str(exc).replace("`", "'")) from exc


def asset_path(written: str) -> str:
    """Return where a file that a step names lies in the package."""
    return f"{ASSETS}/{PurePosixPath(written).name}"


def step_schema(kinds: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of a written step, made from the records."""
    written = [_operation_schema(operation, kind) for operation, kind in sorted(kinds.items())]
    plain = sorted(k for k, kind in kinds.items() if not _required(kind))
    return {"anyOf": [*written, {"enum": plain}]}


def _operation_schema(operation: str, kind: Any) -> dict[str, Any]:
    full = _object_schema(kind)
    choices = [full]
    if operation in _SHORT:
        choices.append(full["properties"][_SHORT[operation]])
    return {
        "type": "object",
        "description": (kind.__doc__ or "").split("\n")[0],
        "properties": {operation: {"anyOf": choices}},
        "required": [operation],
        "additionalProperties": False,
    }


def _object_schema(kind: Any) -> dict[str, Any]:
    full = dict(part_schemas([kind])[kind.__name__])
    full["properties"] = {k: v for k, v in full["properties"].items() if k != "op"}
    full["required"] = [name for name in full.get("required", []) if name != "op"]
    full.pop("title", None)
    return full


def _required(kind: Any) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(kind) if field.required]


def _split(step: Step, key: str) -> tuple[str, Any]:
    if isinstance(step, str):
        return step, {}
    if len(step) != 1:
        raise InvalidKeyError(key, "a step is a mapping of exactly one key, its operation")
    ((operation, options),) = step.items()
    return operation, {} if options is None else options
