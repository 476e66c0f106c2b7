"""Every error that the emulator raises is one of the service's own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import edgectl_aws_greengrass.emulator as package
from edgectl_aws_greengrass.emulator.wire import model

ROOT = Path(package.__file__).parent

COMMON = {
    # of all services (common errors, signature errors), which no model names
    "AccessDenied",
    "AccessDeniedException",
    "IncompleteSignature",
    "InternalFailure",
    "InvalidRequest",
    "MissingAuthenticationToken",
    "SerializationException",
    "ThrottlingException",
    "UnknownOperationException",
    "ValidationException",
    # ours alone: nothing pretends to be there
    "NotImplemented",
}

FOLDERS = {
    "greengrass": ("greengrassv2",),
    "iot": ("iot", "iot-data", "iot-jobs-data"),
    "sagemaker": ("sagemaker",),
}

DEVICE_WORDS = {
    # the MQTT jobs API's own (developer guide, "Device workflows", error codes)
    "InvalidRequest",
    "InvalidStateTransition",
    "ResourceNotFound",
    "VersionMismatch",
}


def raised(file: Path) -> set[tuple[str, str]]:
    """Return (class, code) of the errors that a module makes with a literal code."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            first = node.args[0]
            named = node.func.id in {"ServiceError", "CloudError"}
            if named and isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.add((node.func.id, first.value))
    return found


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_an_error_is_one_of_the_services_shapes(folder: str) -> None:
    known = {shape.name for service in FOLDERS[folder] for shape in model(service).error_shapes}
    unknown = {
        (file.name, code)
        for file in (ROOT / folder).glob("*.py")
        for kind, code in raised(file)
        if code not in known | COMMON | (DEVICE_WORDS if kind == "CloudError" else set())
    }
    assert unknown == set()


def test_the_check_sees_the_errors() -> None:
    codes = {code for file in (ROOT / "greengrass").glob("*.py") for _, code in raised(file)}
    assert {"ConflictException", "ResourceNotFoundException"} <= codes
