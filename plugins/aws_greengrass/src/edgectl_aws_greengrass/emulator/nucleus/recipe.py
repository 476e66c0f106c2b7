"""Decides what a recipe, in the service's canonical JSON, asks of this device."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from edgectl.api import Record
from edgectl_aws_greengrass.emulator.nucleus.failures import DeploymentError

_TIMEOUTS_S = {
    "install": 120.0,
    "bootstrap": 120.0,
    "startup": 120.0,
    "shutdown": 15.0,
    "recover": 60.0,
    "run": None,
}
_ANY = {"*", "all", "any"}
_PATTERN_MARKS = 2


class Step(Record, frozen=True, kw_only=True):
    """A lifecycle step.

    Attributes:
        timeout_s: None for none, which Run has.
        skip_if: ``onpath x`` or ``exists f``, or "".
    """

    script: str
    timeout_s: float | None
    setenv: dict[str, str] = {}
    privileged: bool = False
    skip_if: str = ""


class Artifact(Record, frozen=True, kw_only=True):
    """A file of a component; ``digest`` is base64 of SHA-256, "" where nobody gave one."""

    uri: str
    digest: str = ""
    unarchive: bool = False
    read: str = "OWNER"
    execute: str = "NONE"

    @property
    def name(self) -> str:
        """Its name below the artifacts folder: the key's last segment."""
        return self.uri.rsplit("/", 1)[-1]


class Dependency(Record, frozen=True, kw_only=True):
    """Another component that is needed; a hard one's restart is one's own."""

    requirement: str
    hard: bool


class Recipe(Record, frozen=True, kw_only=True):
    """What this device does with a component version."""

    name: str
    version: str
    dependencies: dict[str, Dependency]
    configuration: dict[str, Any]
    setenv: dict[str, str]
    steps: dict[str, Step]
    artifacts: tuple[Artifact, ...]


def parse_recipe(raw: bytes, platform: Mapping[str, str]) -> Recipe:
    """Read a recipe and choose its manifest.

    Raises:
        DeploymentError: ``RECIPE_PARSE_ERROR``, or no manifest is for this platform.
    """
    try:
        document = json.loads(raw)
        manifest = _manifest(document, platform)
        lifecycle = {**_lowered(document.get("Lifecycle")), **_lowered(manifest.get("Lifecycle"))}
        configuration = document.get("ComponentConfiguration") or {}
        return Recipe(
            name=document["ComponentName"],
            version=document["ComponentVersion"],
            dependencies=_dependencies(document.get("ComponentDependencies") or {}),
            configuration=configuration.get("DefaultConfiguration") or {},
            setenv=_texts(lifecycle.get("setenv")),
            steps={
                name: _step(lifecycle[name], default)
                for name, default in _TIMEOUTS_S.items()
                if lifecycle.get(name)
            },
            artifacts=tuple(_artifact(each) for each in manifest.get("Artifacts") or []),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise DeploymentError(
            f"Failed to parse recipe: {exc!r}",
            "COMPONENT_PACKAGE_LOADING_ERROR",
            "RECIPE_PARSE_ERROR",
        ) from exc


def _manifest(document: Mapping[str, Any], platform: Mapping[str, str]) -> Mapping[str, Any]:
    manifests = document.get("Manifests") or []
    if not manifests:
        return {}
    for manifest in manifests:
        if fits(manifest.get("Platform") or {}, platform):
            found: Mapping[str, Any] = manifest
            return found
    name = document.get("ComponentName")
    raise DeploymentError(
        f"Recipe for component {name} has no manifest for {dict(platform)}",
        "COMPONENT_PACKAGE_LOADING_ERROR",
        "RECIPE_PARSE_ERROR",
    )


def fits(wanted: Mapping[str, Any], platform: Mapping[str, str]) -> bool:
    """Say whether a manifest's platform is this one; ``/…/`` is a regular expression."""
    for key, value in wanted.items():
        actual = platform.get(key)
        if value in _ANY:
            continue
        if actual is None:
            return False
        text = str(value)
        if len(text) > _PATTERN_MARKS and text[0] == text[-1] == "/":
            if not re.fullmatch(text[1:-1], actual):
                return False
        elif text != actual:
            return False
    return True


def _lowered(section: Mapping[str, Any] | None) -> dict[str, Any]:
    return {str(key).lower(): value for key, value in (section or {}).items()}


def _step(given: object, default: float | None) -> Step:
    if isinstance(given, str):
        return Step(script=given, timeout_s=default)
    if not isinstance(given, Mapping):
        raise TypeError(f"a lifecycle step is text or a map, not {given!r}")
    section = _lowered(given)
    timeout = section.get("timeout")
    return Step(
        script=str(section.get("script") or ""),
        timeout_s=float(timeout) if timeout is not None else default,
        setenv=_texts(section.get("setenv")),
        privileged=str(section.get("requiresprivilege", False)).lower() == "true",
        skip_if=str(section.get("skipif") or ""),
    )


def _texts(section: Mapping[str, Any] | None) -> dict[str, str]:
    return {str(key): str(value) for key, value in (section or {}).items()}


def _dependencies(section: Mapping[str, Any]) -> dict[str, Dependency]:
    return {
        name: Dependency(
            requirement=str(entry.get("VersionRequirement") or "*"),
            hard=str(entry.get("DependencyType") or "HARD").upper() == "HARD",
        )
        for name, entry in section.items()
    }


def _artifact(entry: Mapping[str, Any]) -> Artifact:
    permission = entry.get("Permission") or {}
    return Artifact(
        uri=entry["Uri"],
        digest=entry.get("Digest") or "",
        unarchive=str(entry.get("Unarchive") or "NONE").upper() == "ZIP",
        read=str(permission.get("Read") or "OWNER").upper(),
        execute=str(permission.get("Execute") or "NONE").upper(),
    )
