"""The runtime's component: made from what is installed here, once per version and content."""

from __future__ import annotations

import functools
from importlib import metadata, util
from importlib.resources import files
from pathlib import Path

import msgspec

from edgectl.api import ConflictError, ProjectError, ProviderError, sha256_digest
from edgectl_aws_greengrass._sdk import blobs, components
from edgectl_aws_greengrass._sdk.account import Account
from edgectl_aws_greengrass._sdk.blobs import Content
from edgectl_aws_greengrass.recipe import (
    Artifact,
    RuntimeComponent,
    runtime_name,
    runtime_recipe,
    runtime_version,
)
from edgectl_aws_greengrass.render import CONTENT_TAG, MADE_BY, named_blob_key
from edgectl_aws_greengrass.wheel import RuntimeFiles, build_wheel, content_digest, wheel_name

DISTRIBUTION = "edgectl-edge-components"
PACKAGE = "edge_components"
_SKIPPED = ("__pycache__", ".pyc", ".pyo")


@functools.cache
def installed() -> RuntimeFiles:
    """Read the runtime that is installed here; nothing of it is imported.

    Raises:
        ProviderError: It is not there.
    """
    spec = util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ProviderError(f"'{DISTRIBUTION}' is not installed", hint="reinstall edgectl")
    root = Path(next(iter(spec.submodule_search_locations)))
    found = metadata.distribution(DISTRIBUTION)
    origin = found.read_text("direct_url.json") or "{}"
    editable = msgspec.json.decode(origin).get("dir_info", {}).get("editable", False)
    content = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not any(part.endswith(_SKIPPED) for part in path.parts)
    }
    return RuntimeFiles(
        name=DISTRIBUTION,
        version=found.version,
        package=PACKAGE,
        files=content,
        metadata=found.read_text("METADATA") or "",
        entry_points=found.read_text("entry_points.txt") or "",
        development=bool(editable),
    )


@functools.cache
def installed_content() -> str:
    """Return the digest of the runtime that is installed here."""
    return content_digest(installed().files)


def installed_version() -> str:
    """Return the component version of the runtime that is installed here."""
    runtime = installed()
    return runtime_version(runtime.version, installed_content(), development=runtime.development)


def ensure(account: Account, project_dir: Path) -> int:
    """See that the runtime's component is there; return how many bytes travelled.

    Raises:
        ConflictError: The version is there with other content.
        ProjectError: The folder of wheels cannot be read.
    """
    name, version = runtime_name(account.config.publisher), installed_version()
    made = components.find(account, name, version)
    contents = _contents(account, project_dir)
    recipe = runtime_recipe(_component(account, contents))
    tags = {MADE_BY: "edgectl", CONTENT_TAG: sha256_digest(recipe)}
    if made is not None and made.state != "FAILED":
        components.check_ours(name, version, made)
        if components.tag_problem(made, tags, (CONTENT_TAG,)):
            raise ConflictError(
                f"component '{name}' {version} exists with another recipe or other files",
                hint=f"a component version never changes: set `providers.aws.runtime` as it was, "
                f"install a newer {DISTRIBUTION}, or set another `publisher`",
            )
        components.wait(account, name, version)
        return 0
    if made is not None:
        components.discard_failed(account, name, version, made)
    sent = sum(account.at_once(lambda content: blobs.ensure(account, content), contents))
    try:
        components.create(account, name, version, recipe, tags)
    except ConflictError:
        components.wait(account, name, version)  # another operator was faster
    return sent


def _component(account: Account, contents: list[Content]) -> RuntimeComponent:
    installer, wheel, *wheels = (
        Artifact(uri=blobs.location(account, content.key), size=content.size)
        for content in contents
    )
    return RuntimeComponent(
        publisher=account.config.publisher,
        version=installed_version(),
        content=installed_content(),
        python=account.config.runtime.python,
        installer=installer,
        wheel=wheel,
        wheels=tuple(wheels),
    )


def _contents(account: Account, project_dir: Path) -> list[Content]:
    prefix = account.config.prefix
    source = files("edgectl_aws_greengrass") / "device" / "install.py"
    given = {"install.py": source.read_bytes(), wheel_name(installed()): build_wheel(installed())}
    found = [_content(prefix, name, data) for name, data in given.items()]
    return found + [
        _content(prefix, path.name, path.read_bytes())
        for path in _wheels(account.config.runtime.wheels, project_dir)
        if path.name not in given
    ]


def _content(prefix: str, name: str, data: bytes) -> Content:
    digest = sha256_digest(data)
    key = named_blob_key(prefix, digest, name)
    return Content(key=key, digest=digest, size=len(data), data=data)


def _wheels(folder: str | None, project_dir: Path) -> list[Path]:
    if folder is None:
        return []
    found = sorted((project_dir / folder).glob("*.whl"))
    if not found:
        raise ProjectError(
            f"providers.aws.runtime.wheels: there are no wheels in '{folder}'",
            hint="`pip download` for the devices' platform fills it",
        )
    return found
