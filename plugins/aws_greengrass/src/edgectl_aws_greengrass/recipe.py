"""Component recipes: the runtime is one component, each application's model another.

A recipe is JSON with keys in canonical case, portable to the nucleus and to nucleus lite: one
Linux manifest per architecture with ``runtime: "*"``, Install and Run or Startup only, no Skipif,
no regular expression, no ``{dep:…}`` (developer guide, component-recipe-reference; nucleus lite,
RECIPE_SUPPORT_CHANGES). Nucleus lite decides three things more: steps are found by their lower-case
names (recipe2unit), every brace in a script begins a recipe variable, so the shell's own ``${…}``
cannot be used, and a Startup script is followed by commands of its own without ``set -e``, so a
failure has to end the script (recipe-runner). What a user chose goes into the configuration and
reaches a script as a variable of its environment, never as part of its text. Equal input gives
equal bytes.
"""

from __future__ import annotations

import json
import re
from typing import Any

from edgectl.api import LambdaSink, LimitError, Record
from edgectl_aws_greengrass.limits import MAX_COMPONENT_NAME, check_artifacts, check_recipe

FORMAT = "2020-01-25"
ARCHITECTURES = ("amd64", "aarch64")
INSTALL_TIMEOUT_S = 900
APPLY_TIMEOUT_S = 600
"""What verifying, loading and the golden check of a release may take beside its soak."""
DEVICE_CONFIG = "/etc/edgectl/device.toml"
PUBSUB = "aws.greengrass.ipc.pubsub"
FUNCTION_TOPICS = "edgectl/lambda/"
MQTT_PROXY = "aws.greengrass.ipc.mqttproxy"
SHADOW = "edgectl"
_SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?")


class Artifact(Record, frozen=True, kw_only=True):
    """A file that a device downloads; the last part of ``uri`` is its name there."""

    uri: str
    size: int

    @property
    def name(self) -> str:
        """The file's name below ``{artifacts:path}``."""
        return self.uri.rsplit("/", 1)[-1]


class RuntimeComponent(Record, frozen=True, kw_only=True):
    """The runtime as a component.

    Attributes:
        version: The component's version, see ``runtime_version``.
        content: Digest of the runtime's own files.
        installer: The program that installs it.
        wheel: The runtime's wheel.
        wheels: Wheels that go along, so that the device needs no package index.
    """

    publisher: str
    version: str
    content: str
    python: str
    installer: Artifact
    wheel: Artifact
    wheels: tuple[Artifact, ...] = ()


class ModelComponent(Record, frozen=True, kw_only=True):
    """One release of an application as a component.

    Attributes:
        release_file: Name of the artifact that is the release's envelope.
        runtime_requirement: Which versions of the runtime it runs with, as npm writes ranges.
        artifacts: Envelope, manifest, signature and every blob of the package.
        functions: Lambda components that get answers: name to version.
    """

    publisher: str
    application: str
    number: int
    package: str
    soak_s: float
    release_file: str
    manifest_file: str
    signature_file: str
    runtime_requirement: str
    artifacts: tuple[Artifact, ...]
    functions: dict[str, str] = {}


def runtime_name(publisher: str) -> str:
    """Return the runtime component's name."""
    return f"{publisher}.edge-runtime"


def model_name(publisher: str, application: str) -> str:
    """Return the name of an application's component.

    Raises:
        LimitError: It is too long, or has characters that a component's name must not have.
    """
    name = f"{publisher}.{application}"
    if len(name) > MAX_COMPONENT_NAME or not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise LimitError(
            f"'{name}' cannot be the name of a Greengrass component: at most {MAX_COMPONENT_NAME} "
            "letters, digits, dots, underscores and dashes"
        )
    if application == "edge-runtime":
        raise LimitError(f"'{name}' is the name of the runtime's component: rename the project")
    return name


def function_name(publisher: str, sink: LambdaSink) -> str:
    """Return the name of a Lambda function's component."""
    return f"{publisher}.lambda.{sink.function}"


def function_version(sink: LambdaSink) -> str:
    """Return the component version of a function's numbered version, as AWS writes it."""
    return f"{sink.number}.0.0"


def model_version(number: int) -> str:
    """Return the component version of a release."""
    return f"{number}.0.0"


def release_of(version: str) -> int:
    """Return the release that a component version stands for; 0 for a version not of ours."""
    match = re.fullmatch(r"([1-9]\d{0,15})\.0\.0", version)
    return int(match[1]) if match else 0


def runtime_version(version: str, content: str, *, development: bool) -> str:
    """Return the runtime component's version.

    A checkout changes without a new version, and component versions never change: there the
    content is part of the version. The letter before the digest keeps the identifier from being
    a number, which semver does not let begin with 0.
    """
    return f"{version}-dev.h{content.removeprefix('sha256:')[:12]}" if development else version


def runtime_requirement(version: str) -> str:
    """Return the range of runtime versions that a model built with this one runs with.

    A development version is below its release in semver, so the range begins below it too.
    """
    match = _SEMVER.fullmatch(version)
    if match is None:
        raise LimitError(f"'{version}' is no semantic version, which a component needs")
    low = version if match[4] is None else f"{match[1]}.{match[2]}.{match[3]}-0"
    return f">={low} <{int(match[1]) + 1}.0.0"


def runtime_recipe(component: RuntimeComponent) -> bytes:
    """Return the runtime's recipe.

    The nucleus starts it again when it dies, and its devices' state outlives it.

    Raises:
        LimitError: The recipe or the artifacts are too large.
    """
    name = runtime_name(component.publisher)
    artifacts = (component.installer, component.wheel, *component.wheels)
    check_artifacts(name, (artifact.size for artifact in artifacts))
    lifecycle = {
        "Setenv": {
            "EDGECTL_PYTHON": "{configuration:/python}",
            # Not from the configuration, which stays on a device that missed its reset.
            "EDGECTL_RUNTIME_CONTENT": component.content,
        },
        "install": {
            "Script": f'"$EDGECTL_PYTHON" "{{artifacts:path}}/{component.installer.name}" '
            '--wheels "{artifacts:path}" --into "{work:path}"',
            "Timeout": str(INSTALL_TIMEOUT_S),
        },
        "run": {
            "Script": f'{_FIND_CONFIG}; exec "{{work:path}}/bin/edge-agent" serve {_CONFIG}',
        },
    }
    configuration = {
        "python": component.python,
        "accessControl": {**_may_publish(name, ("edgectl/*",)), **_may_tell_functions(name)},
    }
    about = "Serves ONNX models on this device (edgectl)."
    recipe = _document(name, component.version, component.publisher, about, configuration)
    recipe["Manifests"] = _manifests(lifecycle, artifacts)
    return _encode(name, recipe)


def model_recipe(component: ModelComponent) -> bytes:
    """Return the recipe of a release.

    Its health gates the deployment, so it is a Startup, never a Run: the deployment waits for
    exit 0, which means that the device answers with the release and has passed its soak.

    Raises:
        LimitError: The recipe or the artifacts are too large, or the name cannot be used.
    """
    name = model_name(component.publisher, component.application)
    check_artifacts(name, (artifact.size for artifact in component.artifacts))
    runtime = runtime_name(component.publisher)
    script = (
        f'{_FIND_CONFIG}; "{{kernel:rootPath}}/work/{runtime}/bin/edge-agent" apply '
        f'--from "{{artifacts:path}}" --release-file {component.release_file} '
        f"--manifest-file {component.manifest_file} --signature-file {component.signature_file} "
        f"{_CONFIG} || exit $?"
    )
    timeout = str(int(component.soak_s) + APPLY_TIMEOUT_S)
    lifecycle = {"startup": {"Script": script, "Timeout": timeout}}
    configuration = {
        "application": component.application,
        "release": str(component.number),
        "package": component.package,
        "accessControl": _may_publish(name, (f"$aws/things/*/shadow/name/{SHADOW}/*",)),
    }
    about = f"Release {component.number} of {component.application} (edgectl)."
    version = model_version(component.number)
    recipe = _document(name, version, component.publisher, about, configuration)
    # A function that fails must not stop the model, nor the model a function.
    recipe["ComponentDependencies"] = {
        runtime: {"VersionRequirement": component.runtime_requirement, "DependencyType": "HARD"},
        **{
            function: {"VersionRequirement": number, "DependencyType": "SOFT"}
            for function, number in sorted(component.functions.items())
        },
    }
    recipe["Manifests"] = _manifests(lifecycle, component.artifacts)
    return _encode(name, recipe)


_FIND_CONFIG = f'test -n "$EDGECTL_DEVICE_CONFIG" || EDGECTL_DEVICE_CONFIG={DEVICE_CONFIG}'
_CONFIG = '--config "$EDGECTL_DEVICE_CONFIG"'


def _document(
    name: str, version: str, publisher: str, about: str, configuration: dict[str, Any]
) -> dict[str, Any]:
    return {
        "RecipeFormatVersion": FORMAT,
        "ComponentName": name,
        "ComponentVersion": version,
        "ComponentDescription": about,
        "ComponentPublisher": publisher,
        "ComponentConfiguration": {"DefaultConfiguration": configuration},
    }


def _manifests(lifecycle: dict[str, Any], artifacts: tuple[Artifact, ...]) -> list[dict[str, Any]]:
    return [
        {
            "Platform": {"os": "linux", "architecture": architecture, "runtime": "*"},
            "Lifecycle": lifecycle,
            "Artifacts": [{"Uri": artifact.uri} for artifact in artifacts],
        }
        for architecture in ARCHITECTURES
    ]


def _may_publish(name: str, topics: tuple[str, ...]) -> dict[str, Any]:
    """Allow publishing to IoT Core; the thing's own policy keeps it to its own topics."""
    policy = {
        "policyDescription": "Tell the fleet's operator how the device does.",
        "operations": ["aws.greengrass#PublishToIoTCore"],
        "resources": list(topics),
    }
    return {MQTT_PROXY: {f"{name}:mqttproxy:1": policy}}


def _may_tell_functions(name: str) -> dict[str, Any]:
    """Allow local messages to the Lambda functions of the device."""
    policy = {
        "policyDescription": "Give answers to Lambda functions on this device.",
        "operations": ["aws.greengrass#PublishToTopic"],
        "resources": [f"{FUNCTION_TOPICS}*"],
    }
    return {PUBSUB: {f"{name}:pubsub:1": policy}}


def _encode(name: str, recipe: dict[str, Any]) -> bytes:
    data = json.dumps(recipe, separators=(",", ":"), ensure_ascii=False).encode()
    check_recipe(name, data)
    return data
