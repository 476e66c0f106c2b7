"""``package``: a release's files in S3, its component version, and its record in the history.

In this order, so that a component that is there is whole and a record tells of a component that
is there; whoever was cut off goes on where it stopped. The component's version is the release's
number, which Greengrass keeps anybody from using twice.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgectl.api import (
    MAX_MANIFEST_BYTES,
    PIPELINE_FILE,
    ConflictError,
    ContractError,
    Manifest,
    PackageError,
    PackageRequest,
    PackageResult,
    Pipeline,
    Release,
    canonical_json,
    digest_hex,
    layer_paths,
    parse_manifest,
    parse_pipeline,
    sha256_digest,
)
from edgectl_aws_greengrass._sdk import blobs, components, functions, runtime
from edgectl_aws_greengrass._sdk.account import Account
from edgectl_aws_greengrass._sdk.blobs import Content
from edgectl_aws_greengrass._sdk.history import find_record
from edgectl_aws_greengrass.recipe import (
    Artifact,
    ModelComponent,
    function_name,
    function_version,
    model_name,
    model_recipe,
    model_version,
    runtime_requirement,
)
from edgectl_aws_greengrass.render import (
    CONTENT_TAG,
    PACKAGE_TAG,
    blob_key,
    component_tags,
    record_key,
)

Progress = Callable[[str], None]


def publish(
    account: Account, project_dir: Path, request: PackageRequest, progress: Progress
) -> PackageResult:
    """Bring a package and its release to the account; what is there is not sent again.

    Raises:
        ConflictError: The release number is there with other content, or is not ours.
        PackageError: A blob is missing from the local layout or was changed.
        LimitError: A limit of Greengrass would be exceeded.
    """
    release = request.release
    name = model_name(account.config.publisher, release.application)
    version = model_version(release.number)
    made = components.find(account, name, version)
    sent = 0
    if made is None or made.state == "FAILED":
        sent = runtime.ensure(account, project_dir)
        for sink in functions.functions_of(_pipeline(account, request)):
            functions.ensure(account, sink)
        if made is not None:
            components.discard_failed(account, name, version, made)
        sent += _make(account, request, name, version, progress)
        made = components.wait(account, name, version)
    _check_same(release, name, version, made)
    if made.state != "DEPLOYABLE":
        made = components.wait(account, name, version)
    _remember(account, release)
    return PackageResult(location=made.arn, uploaded_bytes=sent)


def _make(
    account: Account, request: PackageRequest, name: str, version: str, progress: Progress
) -> int:
    contents, component = release_files(account, request)
    recipe = model_recipe(component)

    def bring(content: Content) -> int:
        sent = blobs.ensure(account, content)
        if sent:
            progress(f"{name}: uploaded {content.key.rsplit('/', 1)[-1]} ({sent:,} bytes)")
        return sent

    sent = sum(account.at_once(bring, contents))
    try:
        components.create(account, name, version, recipe, component_tags(request.release))
    except ConflictError:
        if components.find(account, name, version) is None:
            raise
    return sent


def release_files(
    account: Account, request: PackageRequest
) -> tuple[list[Content], ModelComponent]:
    """Return what a release's component consists of, and the component."""
    release, layout = request.release, request.package.layout
    manifest_bytes, manifest = _manifest(account, layout, release.package)
    layers = {layer.digest: layer.size for layer in (manifest.config, *manifest.layers)}
    prefix = account.config.prefix
    contents = [
        _given(prefix, release.envelope),
        _given(prefix, manifest_bytes),
        _given(prefix, release.signature),
    ]
    files = [content.digest for content in contents]
    contents += [
        Content(
            key=blob_key(prefix, digest), digest=digest, size=size, path=_blob_path(layout, digest)
        )
        for digest, size in layers.items()
        if digest not in files
    ]
    component = ModelComponent(
        publisher=account.config.publisher,
        application=release.application,
        number=release.number,
        package=release.package,
        soak_s=release.document.settings.soak_s,
        release_file=digest_hex(files[0]),
        manifest_file=digest_hex(files[1]),
        signature_file=digest_hex(files[2]),
        runtime_requirement=runtime_requirement(runtime.installed_version()),
        functions={
            function_name(account.config.publisher, sink): function_version(sink)
            for sink in functions.functions_of(_pipeline(account, request))
        },
        artifacts=tuple(
            Artifact(uri=blobs.location(account, content.key), size=content.size)
            for content in contents
        ),
    )
    return contents, component


def _manifest(account: Account, layout: Path, digest: str) -> tuple[bytes, Manifest]:
    path = _blob_path(layout, digest)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError:
        data = _from_bucket(account, digest)
    try:
        return data, parse_manifest(data, digest=digest)
    except ContractError as exc:
        raise PackageError(f"the package '{digest}' cannot be used: {exc}") from exc


def _pipeline(account: Account, request: PackageRequest) -> Pipeline | None:
    """Return the package's pipeline, or None where it has none."""
    _, manifest = _manifest(account, request.package.layout, request.release.package)
    layer = layer_paths(manifest).get(PIPELINE_FILE)
    if layer is None:
        return None
    try:
        data = _blob_path(request.package.layout, layer.digest).read_bytes()
    except OSError:
        data = _from_bucket(account, layer.digest)
    try:
        return parse_pipeline(data)
    except ContractError as exc:
        raise PackageError(
            f"the package '{request.release.package}' cannot be used: {exc}"
        ) from exc


def _from_bucket(account: Account, digest: str) -> bytes:
    """Fetch a document, for an operator whose own store does not have the package."""
    what = f"look for package '{digest}'"
    place = {"Bucket": account.config.bucket, "Key": blob_key(account.config.prefix, digest)}
    found = account.find("s3", "GetObject", what, **place)
    if found is None:
        raise PackageError(
            f"the package '{digest}' is neither in the local store nor in bucket "
            f"'{account.config.bucket}'",
            hint="`edgectl package --pull` fetches it from a registry",
        )
    data: bytes = found["Body"].read(MAX_MANIFEST_BYTES + 1)
    return data


def _given(prefix: str, data: bytes) -> Content:
    digest = sha256_digest(data)
    return Content(key=blob_key(prefix, digest), digest=digest, size=len(data), data=data)


def _blob_path(layout: Path, digest: str) -> Path:
    return layout / "blobs" / "sha256" / digest_hex(digest)


def _check_same(release: Release, name: str, version: str, made: components.Made) -> None:
    components.check_ours(name, version, made)
    wanted = component_tags(release)
    if problem := components.tag_problem(made, wanted, (CONTENT_TAG, PACKAGE_TAG)):
        raise ConflictError(
            f"release {release.number} of '{release.application}' exists with other content: "
            f"{problem}",
            hint="take a higher release number",
        )


def _remember(account: Account, release: Release) -> None:
    """Write the release into the history, if it is not there."""
    if find_record(account, release.application, release.number) is not None:
        return
    account.call(
        "s3",
        "PutObject",
        f"record release {release.number} of '{release.application}'",
        Bucket=account.config.bucket,
        Key=record_key(account.config.prefix, release),
        Body=canonical_json(release.document),
        ContentType="application/json",
    )
