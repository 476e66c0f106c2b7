"""``package``: bring a release's files to the server and make its distribution set.

The set is made last, and only when the server has every file with the right digest; so a set
that is there is whole, and an interrupted run goes on where it stopped. Two operators who make
the same release number at the same time meet at the set's unique name and version.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from edgectl.api import (
    MAX_MANIFEST_BYTES,
    PACKAGE_FILE,
    SIGNATURE_FILE,
    ConflictError,
    ContractError,
    Manifest,
    PackageError,
    PackageInfo,
    PackageRequest,
    PackageResult,
    Release,
    digest_hex,
    layer_paths,
    parse_manifest,
    parse_package_info,
    push_package,
    sha256_digest,
)
from edgectl_selfhosted import fiql
from edgectl_selfhosted._sdk.client import Client
from edgectl_selfhosted._sdk.wire import ArtifactView, ModuleView, SetView
from edgectl_selfhosted.render import (
    VENDOR,
    ArtifactPlan,
    ModulePlan,
    delta_modules,
    missing_files,
    module_body,
    release_module_name,
    release_modules,
    release_record,
    set_body,
    set_description,
    signed_modules,
)

MODULES = "/rest/v1/softwaremodules"
SETS = "/rest/v1/distributionsets"


def publish(
    client: Client, request: PackageRequest, progress: Callable[[str], None]
) -> PackageResult:
    """Bring a package and its release to the server; what is there is not sent again.

    Raises:
        ConflictError: The release number, or a module of ours, is there with other content.
        PackageError: A blob is missing from the local layout or was changed.
        LimitError: A file is larger than hawkBit takes.
    """
    release = request.release
    found = find_set(client, release.application, release.number)
    if found is not None:
        _check_same(found, release)
        _tell_of_late_deltas(client, found, request, progress)
        return PackageResult(location=_location(client, found))
    ids: list[int] = []
    if _is_local(request.package.layout, release.package):
        manifest_bytes, manifest, info = _read_package(request.package.layout, release.package)
        modules = (
            *delta_modules(release.application, request.deltas),
            *release_modules(release, manifest_bytes, manifest, info),
        )
    else:
        ids, signature = _from_earlier_release(client, release)
        modules = signed_modules(release, signature)
    sent = 0
    for module in modules:
        module_id, uploaded = _ensure_module(client, module, request.package.layout, progress)
        ids.append(module_id)
        sent += uploaded
    return PackageResult(
        location=_location(client, _create_set(client, release, ids)), uploaded_bytes=sent
    )


def _tell_of_late_deltas(
    client: Client, found: SetView, request: PackageRequest, progress: Callable[[str], None]
) -> None:
    """Say which deltas came after their release: a set that is assigned takes no module more."""
    wanted = {(m.name, m.version) for m in delta_modules(found.name, request.deltas)}
    if wanted:
        what = f"look for the deltas of release {found.version}"
        modules = client.pages(what, f"{SETS}/{found.id}/assignedSM", ModuleView)
        if not wanted <= {(module.name, module.version) for module in modules}:
            progress(
                f"release {found.version} was published before its deltas were made: devices fetch "
                "whole files"
            )


def _from_earlier_release(client: Client, release: Release) -> tuple[list[int], bytes]:
    """Find a package at the server, for an operator whose own store does not have it.

    Returns:
        The modules that hold the package, and its signature.

    Raises:
        PackageError: No earlier release there holds the package.
    """
    what = f"look for package {release.package}"
    query = {"q": fiql.equal("name", release.application), "sort": "id:DESC"}
    for found in client.pages(what, SETS, SetView, query):
        record = release_record(
            found.name, found.version, found.description, None, application=release.application
        )
        if record is None or record.package != release.package:
            continue
        modules = list(client.pages(what, f"{SETS}/{found.id}/assignedSM", ModuleView))
        own = [m for m in modules if m.name == release_module_name(release.application)]
        kept = [m.id for m in modules if m not in own]
        for module in own:
            artifacts = f"{MODULES}/{module.id}/artifacts"
            for artifact in client.get(what, artifacts, list[ArtifactView]):
                if artifact.provided_filename == SIGNATURE_FILE:
                    path = f"{artifacts}/{artifact.id}/download"
                    return kept, client.fetch(what, path)
    raise PackageError(
        f"the package '{release.package}' is neither in the local store nor at '{client.server}'",
        hint="`edgectl package --pull` fetches it from a registry",
    )


def also_pushed(registry: str, request: PackageRequest, result: PackageResult) -> PackageResult:
    """Push the package to an OCI registry as well, if one is configured and the package is here.

    Raises:
        RegistryError: The registry refused, or could not be reached.
    """
    package = request.package
    if not registry or not _is_local(package.layout, package.digest):
        return result
    repository = f"{registry.rstrip('/')}/{package.application}"
    sent = push_package(
        package.layout,
        package.digest,
        repository,
        tag=f"release-{request.release.number}",
        deltas=request.deltas,
    )
    return PackageResult(
        location=f"{result.location} and {repository}@{package.digest}",
        uploaded_bytes=result.uploaded_bytes + sent,
    )


def find_set(client: Client, application: str, number: int) -> SetView | None:
    """Return the distribution set of a release, ours or not, or None."""
    what = f"look for release {number} of '{application}'"
    query = {"q": fiql.set_is(application, number)}
    for found in client.pages(what, SETS, SetView, query):
        if (found.name, found.version) == (application, str(number)):
            return found
    return None


def _check_same(found: SetView, release: Release) -> None:
    record = release_record(
        found.name,
        found.version,
        found.description,
        found.created_at,
        application=release.application,
    )
    name = f"release {release.number} of '{release.application}'"
    if record is None:
        raise ConflictError(
            f"{name} cannot be made: a distribution set that edgectl did not make has its name",
            hint="rename that distribution set on the server, or the project",
        )
    if (record.package, record.content) != (release.package, release.document.content_digest()):
        raise ConflictError(
            f"{name} exists with other content: package {record.package}",
            hint="take a higher release number",
        )


def _create_set(client: Client, release: Release, module_ids: list[int]) -> SetView:
    what = f"create release {release.number} of '{release.application}'"
    set_description(release)
    try:
        made = client.post(what, SETS, list[SetView], [set_body(release, module_ids)])
    except ConflictError as exc:
        found = find_set(client, release.application, release.number)
        if found is None:
            raise ConflictError(
                f"cannot {what}: the server keeps a deleted distribution set of that name",
                hint="take a higher release number",
                vendor_code=exc.vendor_code,
            ) from exc
        _check_same(found, release)
        return found
    return made[0]


def _ensure_module(
    client: Client, module: ModulePlan, layout: Path, progress: Callable[[str], None]
) -> tuple[int, int]:
    what = f"prepare the software module '{module.name}' {module.version}"
    found = _find_module(client, module, what) or _create_module(client, module, what)
    if found.vendor != VENDOR:
        raise ConflictError(
            f"cannot {what}: a module that edgectl did not make has its name",
            hint="rename that software module on the server, or the project",
        )
    artifacts = f"{MODULES}/{found.id}/artifacts"
    there = client.get(what, artifacts, list[ArtifactView])
    try:
        missing = missing_files(
            module, {a.provided_filename: "sha256:" + a.hashes.sha256 for a in there}
        )
    except PackageError as exc:
        raise ConflictError(
            f"cannot {what}: {exc}", hint="delete that software module on the server"
        ) from exc
    for artifact in missing:
        progress(f"{module.name}: uploading {artifact.name} ({artifact.size:,} bytes)")
        _upload(client, artifacts, artifact, layout)
    return found.id, sum(artifact.size for artifact in missing)


def _find_module(client: Client, module: ModulePlan, what: str) -> ModuleView | None:
    query = {"q": fiql.set_is(module.name, module.version)}
    found = client.pages(what, MODULES, ModuleView, query)
    return next((m for m in found if (m.name, m.version) == (module.name, module.version)), None)


def _create_module(client: Client, module: ModulePlan, what: str) -> ModuleView:
    try:
        return client.post(what, MODULES, list[ModuleView], [module_body(module)])[0]
    except ConflictError:
        found = _find_module(client, module, what)
        if found is None:
            raise
        return found


def _upload(client: Client, path: str, artifact: ArtifactPlan, layout: Path) -> None:
    what = f"upload '{artifact.name}'"
    sha256 = digest_hex(artifact.digest)
    try:
        made = client.upload(
            what,
            path,
            ArtifactView,
            name=artifact.name,
            open_content=lambda: _open(artifact, layout),
            params={"filename": artifact.name, "sha256sum": sha256},
        )
    except ConflictError:
        there = client.get(what, path, list[ArtifactView])
        made = next((a for a in there if a.provided_filename == artifact.name), ArtifactView(id=0))
    if made.hashes.sha256.lower() != sha256:
        raise ConflictError(
            f"cannot {what}: the server has content sha256:{made.hashes.sha256} in its place",
            hint="the blob in the local store may be damaged; package the model again",
        )


def _open(artifact: ArtifactPlan, layout: Path) -> BinaryIO:
    if artifact.data is not None:
        return io.BytesIO(artifact.data)
    return _open_blob(layout, artifact.digest, artifact.size)


def _open_blob(layout: Path, digest: str, size: int | None = None) -> BinaryIO:
    path = layout / "blobs" / "sha256" / digest_hex(digest)
    try:
        if size is not None and path.stat().st_size != size:
            raise PackageError(f"the blob '{digest}' in '{layout}' does not have {size} bytes")
        return path.open("rb")
    except OSError as exc:
        raise PackageError(
            f"the blob '{digest}' cannot be read from '{layout}': {exc.strerror}",
            hint="build or pull the package again",
        ) from exc


def _is_local(layout: Path, digest: str) -> bool:
    return (layout / "blobs" / "sha256" / digest_hex(digest)).is_file()


def _read_package(layout: Path, digest: str) -> tuple[bytes, Manifest, PackageInfo]:
    try:
        with _open_blob(layout, digest) as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
        manifest = parse_manifest(data, digest=digest)
        about = layer_paths(manifest).get(PACKAGE_FILE)
        if about is None:
            raise PackageError(f"the package '{digest}' has no '{PACKAGE_FILE}'")
        with _open_blob(layout, about.digest, about.size) as file:
            text = file.read()
        if sha256_digest(text) != about.digest:
            raise PackageError(f"the content of the blob '{about.digest}' was changed")
        return data, manifest, parse_package_info(text, manifest)
    except ContractError as exc:
        raise PackageError(f"the package '{digest}' cannot be used: {exc}") from exc


def _location(client: Client, found: SetView) -> str:
    return f"{client.server}{SETS}/{found.id}"
