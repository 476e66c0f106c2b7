"""The server's OpenAPI document: complete, true of every answer, and no less than the protocol's.

schemathesis makes requests from the document, fitting and unfitting ones, and holds every answer
against it.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from schemathesis.checks import CHECKS

from edge_components.runtime import routes as routes_module
from edge_components.runtime.http import Head, Response
from edge_components.runtime.inference import Inference
from edge_components.runtime.metrics import Metrics
from edge_components.runtime.registry import Registry
from edge_components.runtime.repository import Repository
from edge_components.runtime.routes import OPENAPI_FILE, Routes
from edge_components.runtime.version import find_profile

DOCUMENT = json.loads(OPENAPI_FILE.read_bytes())
SPECIFICATION = (
    Path(__file__).parents[3].parent
    / "shared"
    / "specs"
    / "open-inference-protocol"
    / "open_inference_rest.fixed-paths.yaml"
)
METHODS = {"get", "post", "put", "delete", "patch", "head", "options", "trace"}
# A request that fits the document need not fit the model.
LEFT_OUT = {"positive_data_acceptance"}


def likely(document: dict[str, Any]) -> dict[str, Any]:
    """Make the generated requests name the loaded model and its tensors often."""
    found: dict[str, Any] = json.loads(json.dumps(document))
    parts = found["components"]
    parts["parameters"]["model"]["schema"] = {"enum": ["m", "m", "m", "other", "none", "a/b ü"]}
    parts["parameters"]["version"]["schema"] = {"enum": ["1", "1", "2", "x"]}
    given = parts["schemas"]["request_input"]["properties"]
    given["name"] = {"enum": ["x", "x", "y"]}
    given["shape"] = {"anyOf": [{"const": [1, 4]}, given["shape"]]}
    given["data"] = {"anyOf": [{"const": [1, 2, 3, 4]}, given["data"]]}
    given["datatype"] = {"anyOf": [{"const": "FP32"}, given["datatype"]]}
    parts["schemas"]["request_output"]["properties"]["name"] = {"enum": ["y", "y", "z"]}
    return found


SCHEMA = schemathesis.openapi.from_dict(likely(DOCUMENT))


@pytest.fixture(scope="module")
def served(module_start: Any, build: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("models")
    build.scaling(folder / "other.onnx", 3.0)
    model = build.scaling(tmp_path_factory.mktemp("m") / "m.onnx", 2.0)
    return module_start("--model", model, "--name", "m", "--models", folder)


@pytest.fixture(scope="module")
def routes() -> Routes:
    registry, metrics = Registry(), Metrics()
    recorder: Any = None
    return Routes(
        Inference(registry, metrics, recorder),
        Repository(None, registry, find_profile("x86-64-cpu")),
        ready=lambda: True,
        metrics_page=lambda: b"",
        push=lambda _: Response(200, []),
    )


def fuzz(case: Any, served: Any) -> None:
    checks = [check for check in CHECKS.get_all() if check.__name__ not in LEFT_OUT]
    case.call_and_validate(base_url=f"http://127.0.0.1:{served.port}", checks=checks)


@SCHEMA.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_the_document_says(case: Any, served: Any) -> None:
    fuzz(case, served)


@pytest.mark.slow
@SCHEMA.parametrize()
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_to_hundreds_of_requests_is_as_the_document_says(
    case: Any, served: Any
) -> None:
    fuzz(case, served)


def test_the_served_document_is_the_shipped_one(served: Any) -> None:
    assert served.json("GET", "/openapi.json") == (200, DOCUMENT)


def test_references_and_schemas_of_the_document_hold() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for reference in set(re.findall(r'"#/([^"]+)"', OPENAPI_FILE.read_text())):
        found: Any = DOCUMENT
        for part in reference.split("/"):
            found = found[part]


def pattern(template: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(map(re.escape, re.split(r"\{\w+\}", template))))


# A fixed path comes before one with names.
TEMPLATES = {
    pattern(template): {method.upper() for method in DOCUMENT["paths"][template]}
    for template in sorted(DOCUMENT["paths"], key=lambda text: text.count("{"))
}


def documented(path: str) -> set[str]:
    """The methods that the document has for a path; HEAD is where GET is."""
    found = next((TEMPLATES[known] for known in TEMPLATES if known.fullmatch(path)), set())
    return found | {"HEAD"} if "GET" in found else found


def answered(routes: Routes, path: str) -> set[str]:
    """The methods that the routes take at a path."""
    found = set()
    for method in ("GET", "HEAD", "POST", "PUT"):
        head = Head()
        head.method, head.target = method, path
        if not isinstance(routes.resolve(head), Response):
            found.add(method)
    return found


def test_the_document_has_every_route_and_no_other(routes: Routes) -> None:
    known = {part for path in DOCUMENT["paths"] for part in path.split("/")[1:]}
    known |= set(re.findall(r'"([a-z0-9.]{2,12})"', Path(routes_module.__file__).read_text()))
    words = [word for word in sorted(known) if not word.startswith("{")] + ["m"]
    ends = ["versions", "ready", "infer", "stats", "load", "unload", "m"]
    paths = {f"/{word}" for word in words}
    for first, second in itertools.product(words, words):
        paths |= {f"/{first}/{second}", f"/v2/{first}/{second}"}
    for length in range(4):
        levels = [["models", "repository"], words, *[ends] * length]
        paths |= {"/v2/" + "/".join(parts) for parts in itertools.product(*levels)}
    for path in paths:
        assert answered(routes, path) == documented(path), path


def test_every_documented_path_is_a_route(routes: Routes) -> None:
    for template in DOCUMENT["paths"]:
        path = re.sub(r"\{\w+\}", "m", template)
        assert answered(routes, path) == documented(path), path


@pytest.mark.skipif(not SPECIFICATION.exists(), reason="the protocol's document is not there")
def test_the_document_has_all_of_the_protocols_operations_and_fields() -> None:
    theirs = yaml.safe_load(SPECIFICATION.read_text())
    for path, item in theirs["paths"].items():
        ours = path.replace("{MODEL_NAME}", "{model}").replace("{MODEL_VERSION}", "{version}")
        operations = DOCUMENT["paths"][ours.rstrip("/")]
        for method in METHODS & set(item):
            assert set(item[method]["responses"]) <= set(operations[method]["responses"]), path
    names = {
        "metadata_server_response": "server_metadata",
        "metadata_model_response": "model_metadata",
        "metadata_tensor": "tensor_metadata",
    }
    schemas = DOCUMENT["components"]["schemas"]
    for name, schema in theirs["components"]["schemas"].items():
        mine = schemas.get(names.get(name, name))
        if mine is None or "properties" not in schema:
            continue
        optional = {"properties", "parameters", "data"}
        assert set(schema["properties"]) - optional <= set(mine["properties"]), name
        assert set(schema.get("required", ())) - optional <= set(mine["required"]), name
