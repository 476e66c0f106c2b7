"""Recipes: what CreateComponentVersion takes, and the canonical JSON that devices get.

The service reads JSON and YAML, whatever the case of the keys, checks them, and stores a document
of its own: canonical keys, defaults filled in, artifact digests added (developer guide,
component-recipe-reference; the canonical form is what ``resolveComponentCandidates`` was seen to
answer). It is strict here: an unknown key is an error, where the service may only pass it over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from edgectl_aws_greengrass.emulator.greengrass.versions import parse, satisfies
from edgectl_aws_greengrass.emulator.wire import ServiceError

MAX_BYTES = 16_000
FORMAT = "2020-01-25"

Recipe = dict[str, Any]

_NAME = re.compile(r"[a-zA-Z0-9-_.]+")
_TOP = {
    name.lower(): name
    for name in (
        "RecipeFormatVersion",
        "ComponentName",
        "ComponentVersion",
        "ComponentDescription",
        "ComponentPublisher",
        "ComponentType",
        "ComponentSource",
        "ComponentConfiguration",
        "ComponentDependencies",
        "Manifests",
        "Lifecycle",
    )
}
_MANIFEST = {n.lower(): n for n in ("Name", "Platform", "Lifecycle", "Selections", "Artifacts")}
_ARTIFACT = {n.lower(): n for n in ("Uri", "Unarchive", "Permission", "Digest", "Algorithm")}
_PERMISSION = {n.lower(): n for n in ("Read", "Execute")}
_DEPENDENCY = {n.lower(): n for n in ("VersionRequirement", "DependencyType")}
_WHO = ("NONE", "OWNER", "ALL")
_ARTIFACT_URI = re.compile(r"(s3://[a-z0-9.-]{3,63}/.+|docker:.+)")
_STEPS = {
    "setenv", "install", "run", "startup", "shutdown", "recover", "bootstrap", "uninstall",
}  # fmt: skip


def read(blob: bytes) -> Recipe:
    """Read and check an uploaded recipe, and bring it into canonical form (without digests).

    Raises:
        ServiceError: ``ValidationException`` with what is wrong.
    """
    if len(blob) > MAX_BYTES:
        raise _invalid(f"the recipe has {len(blob)} bytes; at most {MAX_BYTES} are allowed")
    given = _mapping(_load(blob), "the recipe")
    recipe = _renamed(given, _TOP, "the recipe")
    if "ComponentType" in recipe or "ComponentSource" in recipe:
        raise _invalid("ComponentType and ComponentSource are set by the service")
    if str(recipe.get("RecipeFormatVersion")) != FORMAT:
        raise _invalid(f"RecipeFormatVersion has to be '{FORMAT}'")
    _check_identity(recipe)
    manifests = recipe.get("Manifests", [])
    if not isinstance(manifests, list):
        raise _invalid("Manifests is not a list")
    canonical: Recipe = {
        "RecipeFormatVersion": FORMAT,
        "ComponentName": recipe["ComponentName"],
        "ComponentVersion": recipe["ComponentVersion"],
        "ComponentType": "aws.greengrass.generic",
    }
    for name in ("ComponentDescription", "ComponentPublisher"):
        if recipe.get(name) is not None:
            canonical[name] = str(recipe[name])
    canonical["ComponentConfiguration"] = _configuration(recipe.get("ComponentConfiguration"))
    canonical["ComponentDependencies"] = _dependencies(recipe.get("ComponentDependencies"))
    canonical["Manifests"] = [_manifest(m, i) for i, m in enumerate(manifests)]
    canonical["Lifecycle"] = _lifecycle(recipe.get("Lifecycle"), "Lifecycle")
    return canonical


def artifacts(recipe: Recipe) -> list[dict[str, Any]]:
    """Return the artifacts of all manifests, to be changed in place."""
    return [artifact for manifest in recipe["Manifests"] for artifact in manifest["Artifacts"]]


def platforms(recipe: Recipe) -> list[dict[str, Any]]:
    """Return the platforms as DescribeComponent shows them."""
    return [
        {
            **({"name": manifest["Name"]} if manifest.get("Name") else {}),
            "attributes": {k: str(v) for k, v in manifest.get("Platform", {}).items()},
        }
        for manifest in recipe["Manifests"]
    ]


def encode(recipe: Recipe) -> bytes:
    """Return the bytes that devices get."""
    return json.dumps(recipe, separators=(",", ":")).encode()


def runs_on(recipe: Recipe, attributes: Mapping[str, str]) -> bool:
    """Say whether a manifest matches a device; a recipe without manifests runs everywhere."""
    manifests = recipe["Manifests"]
    return not manifests or any(_matches(m.get("Platform", {}), attributes) for m in manifests)


def _matches(platform: Mapping[str, Any], attributes: Mapping[str, str]) -> bool:
    for name, wanted in platform.items():
        text = str(wanted)
        if name == "runtime" and text == "*":
            continue
        actual = attributes.get(name)
        if text in {"*", "all", "any"}:
            continue
        if actual is None:
            return False
        if len(text) > 2 and text.startswith("/") and text.endswith("/"):
            if re.fullmatch(text[1:-1], actual) is None:
                return False
        elif text != actual:
            return False
    return True


def _load(blob: bytes) -> object:
    try:
        text = blob.decode()
        if text.lstrip().startswith("{"):
            return json.loads(text)
        return yaml.safe_load(text)
    except (UnicodeDecodeError, json.JSONDecodeError, yaml.YAMLError) as error:
        raise _invalid(f"the recipe is neither JSON nor YAML: {error}") from error


def _check_identity(recipe: Recipe) -> None:
    name, version = recipe.get("ComponentName"), recipe.get("ComponentVersion")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > 128:
        raise _invalid(f"ComponentName '{name}' is not 1 to 128 of a-z A-Z 0-9 - _ .")
    try:
        parse(version if isinstance(version, str) else repr(version))
    except ValueError as error:
        raise _invalid(f"ComponentVersion: {error}") from error


def _configuration(given: object) -> dict[str, Any]:
    if given is None:
        return {"DefaultConfiguration": {}}
    found = _renamed(
        _mapping(given, "ComponentConfiguration"),
        {"defaultconfiguration": "DefaultConfiguration"},
        "ComponentConfiguration",
    )
    default = _mapping(found.get("DefaultConfiguration") or {}, "DefaultConfiguration")
    return {"DefaultConfiguration": _floated(default)}


def _floated(value: Any) -> Any:
    """Numbers come back as floats: the reason why recipes write them as strings."""
    if isinstance(value, dict):
        return {name: _floated(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_floated(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _dependencies(given: object) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, entry in _mapping(given or {}, "ComponentDependencies").items():
        wanted = _renamed(_mapping(entry, f"dependency '{name}'"), _DEPENDENCY, f"'{name}'")
        requirement = str(wanted.get("VersionRequirement") or "")
        kind = str(wanted.get("DependencyType") or "HARD").upper()
        try:
            satisfies(parse("1.0.0"), requirement)
        except ValueError as error:
            raise _invalid(f"dependency '{name}': {error}") from error
        if not requirement or kind not in {"HARD", "SOFT"}:
            raise _invalid(f"dependency '{name}' needs a VersionRequirement and HARD or SOFT")
        found[name] = {"VersionRequirement": requirement, "DependencyType": kind}
    return found


def _manifest(given: object, index: int) -> dict[str, Any]:
    where = f"Manifests[{index}]"
    found = _renamed(_mapping(given, where), _MANIFEST, where)
    platform = _mapping(found.get("Platform") or {}, f"{where}.Platform")
    listed = found.get("Artifacts") or []
    if not isinstance(listed, list):
        raise _invalid(f"{where}.Artifacts is not a list")
    kept = [_artifact(entry, where) for entry in listed]
    names = [artifact["Uri"].rsplit("/", 1)[-1] for artifact in kept]
    double = {name for name in names if names.count(name) > 1}
    if double:
        raise _invalid(f"{where}.Artifacts has the file name '{min(double)}' twice")
    manifest: dict[str, Any] = {}
    if found.get("Name"):
        manifest["Name"] = found["Name"]
    manifest["Platform"] = {_lower_known(str(k)): v for k, v in platform.items()}
    manifest["Lifecycle"] = _lifecycle(found.get("Lifecycle"), f"{where}.Lifecycle")
    if found.get("Selections"):
        manifest["Selections"] = found["Selections"]
    manifest["Artifacts"] = kept
    return manifest


def _lower_known(name: str) -> str:
    return name.lower() if name.lower() in {"os", "architecture", "runtime"} else name


def _lifecycle(given: object, where: str) -> dict[str, Any]:
    found = _mapping(given or {}, where)
    steps = {name.lower() for name in found}
    selections = not steps & _STEPS and all(isinstance(v, dict) for v in found.values())
    unknown = steps - _STEPS
    if unknown and not selections:
        raise _invalid(f"{where} has the unknown step '{min(unknown)}'")
    if {"run", "startup"} <= steps:
        raise _invalid(f"{where} has both Run and Startup; a component has only one")
    return found


def _artifact(given: object, where: str) -> dict[str, Any]:
    found = _renamed(_mapping(given, f"{where}.Artifacts"), _ARTIFACT, f"{where}.Artifacts")
    uri = str(found.get("Uri") or "")
    if not _ARTIFACT_URI.fullmatch(uri):
        raise _invalid(f"{where}.Artifacts: '{uri}' is neither s3://bucket/key nor docker:image")
    if {"Digest", "Algorithm"} & set(found):
        raise _invalid(f"{where}.Artifacts: Digest and Algorithm are set by the service")
    unarchive = str(found.get("Unarchive") or "NONE").upper()
    permission = _renamed(_mapping(found.get("Permission") or {}, where), _PERMISSION, where)
    read, execute = (
        str(permission.get("Read") or "OWNER").upper(),
        str(permission.get("Execute") or "NONE").upper(),
    )
    if unarchive not in {"NONE", "ZIP"} or read not in _WHO or execute not in _WHO:
        raise _invalid(f"{where}.Artifacts: '{uri}' has an unknown Unarchive or Permission")
    return {
        "Uri": uri,
        "Unarchive": unarchive,
        "Permission": {"Read": read, "Execute": execute},
    }


def _renamed(given: Mapping[str, Any], names: Mapping[str, str], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = names.get(str(key).lower())
        if name is None:
            raise _invalid(f"{where} has the unknown key '{key}'")
        if name in found:
            raise _invalid(f"{where} has the key '{name}' twice")
        found[name] = value
    return found


def _mapping(given: object, where: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise _invalid(f"{where} is not an object")
    return given


def _invalid(reason: str) -> ServiceError:
    return ServiceError("ValidationException", f"Invalid recipe: {reason}")
