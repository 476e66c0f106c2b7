"""The JSON Schema of ``edgectl.yaml``, made from the types that validate it."""

from __future__ import annotations

from typing import Any

import msgspec

from edge_components.contract.hardware import PROFILES
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
    hardware = definitions["TargetSpec"]["properties"]["hardware"]
    hardware["anyOf"] = [{"enum": sorted(PROFILES)}, {"type": "null"}]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edgectl project",
        **schema,
    }
