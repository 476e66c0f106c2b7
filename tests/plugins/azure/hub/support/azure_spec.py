"""Holds every request and answer of the hub to the service's OpenAPI, where that is there.

The description has operations, statuses and schemas, but does not say which schema an operation
has; that is said here, after the client that it was derived from. Members that a schema does not
know are refused too, but for two that the real service adds to twins.
"""

from __future__ import annotations

import copy
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication

from jsonschema import Draft202012Validator

SPEC = (
    Path(__file__).parents[6]
    / "shared"
    / "specs"
    / "azure-iothub"
    / "iothub-service-2021-04-12.derived.openapi.json"
)
RECORDING = SPEC.with_name("recorded-configurations-lifecycle.json")


_BODIES = {
    "BulkRegistry_update_registry": ("ExportImportDevice[]", "BulkRegistryOperationResult"),
    "CloudToDeviceMessages_purge_cloud_to_device_message_queue": ("", "PurgeMessageQueueResult"),
    "Configuration_apply_on_edge_device": ("ConfigurationContent", ""),
    "Configuration_create_or_update": ("Configuration", "Configuration"),
    "Configuration_delete": ("", ""),
    "Configuration_get": ("", "Configuration"),
    "Configuration_get_configurations": ("", "Configuration[]"),
    "Configuration_test_queries": (
        "ConfigurationQueriesTestInput",
        "ConfigurationQueriesTestResponse",
    ),
    "Devices_create_or_update_identity": ("Device", "Device"),
    "Devices_delete_identity": ("", ""),
    "Devices_get_devices": ("", "Device[]"),
    "Devices_get_identity": ("", "Device"),
    "Devices_get_twin": ("", "Twin"),
    "Devices_invoke_method": ("CloudToDeviceMethod", "CloudToDeviceMethodResult"),
    "Devices_replace_twin": ("Twin", "Twin"),
    "Devices_update_twin": ("Twin", "Twin"),
    "Jobs_cancel_scheduled_job": ("", "JobResponse"),
    "Jobs_create_scheduled_job": ("JobRequest", "JobResponse"),
    "Jobs_get_scheduled_job": ("", "JobResponse"),
    "Jobs_query_scheduled_jobs": ("", "JobResponse[]"),
    "Modules_create_or_update_identity": ("Module", "Module"),
    "Modules_delete_identity": ("", ""),
    "Modules_get_identity": ("", "Module"),
    "Modules_get_modules_on_device": ("", "Module[]"),
    "Modules_get_twin": ("", "Twin"),
    "Modules_invoke_method": ("CloudToDeviceMethod", "CloudToDeviceMethodResult"),
    "Modules_replace_twin": ("Twin", "Twin"),
    "Modules_update_twin": ("Twin", "Twin"),
    "Query_get_twins": ("QuerySpecification", "*[]"),
    "Statistics_get_device_statistics": ("", "RegistryStatistics"),
    "Statistics_get_service_statistics": ("", "ServiceStatistics"),
}
_ADDED = {"Twin": {"modelId", "configurations"}}


class Spec:
    """The described operations."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._schemas = {
            name: _closed(_plain(schema), _ADDED.get(name, set()))
            for name, schema in document["components"]["schemas"].items()
        }
        self._operations: list[tuple[str, re.Pattern[str], dict[str, Any]]] = []
        for path, verbs in document["paths"].items():
            pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", path))
            for verb, operation in verbs.items():
                if verb in {"get", "put", "post", "patch", "delete"}:
                    self._operations.append((verb.upper(), pattern, operation))
        # a path with fewer placeholders describes better
        self._operations.sort(key=lambda found: found[1].pattern.count("[^/]+"))

    @classmethod
    def read(cls) -> Spec | None:
        return cls(json.loads(SPEC.read_text())) if SPEC.exists() else None

    def operation(self, verb: str, path: str) -> dict[str, Any] | None:
        for known, pattern, operation in self._operations:
            if known == verb and pattern.fullmatch(path):
                return operation
        return None

    def faults(self, name: str, body: bytes) -> list[str]:
        if not name:
            return [f"a body where there is none: {body[:50]!r}"] if body.strip() else []
        plain = name.removesuffix("[]")
        schema: dict[str, Any] = {} if plain == "*" else {"$ref": f"#/components/schemas/{plain}"}
        if name.endswith("[]"):
            schema = {"type": "array", "items": schema}
        root = {**schema, "components": {"schemas": self._schemas}}
        found = Draft202012Validator(root).iter_errors(json.loads(body))
        return [f"{error.json_path}: {error.message[:200]}" for error in found]

    def exchange_faults(
        self, verb: str, path: str, request: bytes, status: int, answer: bytes
    ) -> list[str]:
        operation = self.operation(verb, path)
        if operation is None or status >= 400:
            return []
        if str(status) not in operation["responses"]:
            return [f"answers {status}, which is not described"]
        asked, answered = _BODIES[operation["operationId"]]
        return [*self.faults(asked, request), *self.faults(answered, answer)]


class Checked:
    """A WSGI application between clients and the account: what breaks the description is kept.

    Attributes:
        faults: What was broken; a test fails when there is any.
        seen: How many requests were held to it.
    """

    def __init__(self, application: WSGIApplication, spec: Spec) -> None:
        self.faults: list[str] = []
        self.seen = 0
        self._application = application
        self._spec = spec

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        verb, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if self._spec.operation(verb, path) is None:
            return self._application(environ, start_response)
        body = environ["wsgi.input"].read()
        environ["wsgi.input"] = io.BytesIO(body)
        heads: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], _: object = None) -> Any:
            heads[:] = [status, headers]

        answer = b"".join(self._application(environ, start))
        self.seen += 1
        status = int(heads[0].split()[0])
        found = self._spec.exchange_faults(verb, path, body, status, answer)
        self.faults += [f"{verb} {path}: {fault}" for fault in found]
        start_response(heads[0], heads[1])
        return [answer]


def _plain(schema: Any) -> Any:
    """Turn OpenAPI's ``nullable`` into what JSON Schema knows."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _plain(value) for key, value in copy.deepcopy(schema).items()}
    if found.pop("nullable", False) is True and isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
    if "$ref" in found:
        return {"anyOf": [found, {"type": "null"}]}
    return found


def _closed(schema: dict[str, Any], added: set[str]) -> dict[str, Any]:
    """Refuse members that a schema does not name, where it does not say that there may be any."""
    if "properties" in schema and "additionalProperties" not in schema:
        names = {name: {} for name in added}
        return {
            **schema,
            "properties": {**schema["properties"], **names},
            "additionalProperties": False,
        }
    return schema
