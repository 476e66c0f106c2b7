"""The JSON Schema of ``edgectl.yaml``, made from the types that validate it."""

from __future__ import annotations

from typing import Any

import msgspec

from edge_components.contract import pipeline as contract
from edge_components.contract.hardware import PROFILES
from edgectl.project.parts import by_tag, part_schemas
from edgectl.project.spec import ProjectSpec
from edgectl.project.steps import POSTPROCESS, PREPROCESS, step_schema


def project_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12); editors complete and check project files with it."""
    schema = msgspec.json.schema(ProjectSpec)
    definitions = schema["$defs"]
    definitions["PreprocessStep"] = step_schema(PREPROCESS)
    definitions["PostprocessStep"] = step_schema(POSTPROCESS)
    properties = definitions["PipelineSpec"]["properties"]
    properties["preprocess"]["items"] = {"$ref": "#/$defs/PreprocessStep"}
    properties["postprocess"]["items"] = {"$ref": "#/$defs/PostprocessStep"}
    _add_parts(definitions, properties)
    hardware = definitions["TargetSpec"]["properties"]["hardware"]
    hardware["anyOf"] = [{"enum": sorted(PROFILES)}, {"type": "null"}]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edgectl project",
        **schema,
    }


def _add_parts(definitions: dict[str, Any], properties: dict[str, Any]) -> None:
    """Say what sources, sinks and the other parts of a pipeline are, in place of any mapping."""
    sources, sinks = by_tag(contract.Source), by_tag(contract.Sink)
    single: dict[str, type[contract.Part]] = {
        "queue": contract.Queue,
        "remote": contract.Remote,
        "fallback": contract.Fallback,
    }
    parts = part_schemas([*sources.values(), *sinks.values(), *single.values()])
    definitions |= parts
    source = {"anyOf": [_reference(kind) for kind in sources.values()]}
    sink = {"anyOf": [_reference(kind) for kind in sinks.values()]}
    properties["source"] = {"anyOf": [source, {"type": "null"}]}
    properties["sink"] = {"anyOf": [sink, {"type": "array", "items": sink}, {"type": "null"}]}
    for name, part in single.items():
        properties[name] = {"anyOf": [_reference(part), {"type": "null"}]}


def _reference(kind: type[contract.Part]) -> dict[str, str]:
    return {"$ref": f"#/$defs/{kind.__name__}"}
