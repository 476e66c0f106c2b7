"""``preview``: Greengrass's limits for a package, and what else is on the target."""

from __future__ import annotations

from edgectl.api import (
    DeviceSettings,
    PackageError,
    PackageRequest,
    PreviewRequest,
    PreviewResult,
    Release,
    ReleaseDocument,
)
from edgectl_aws_greengrass._sdk import fleet, runtime
from edgectl_aws_greengrass._sdk.account import Account
from edgectl_aws_greengrass._sdk.package import release_files
from edgectl_aws_greengrass._sdk.view import View
from edgectl_aws_greengrass.limits import check_document, needs_fetching
from edgectl_aws_greengrass.recipe import model_recipe
from edgectl_aws_greengrass.render import (
    Components,
    document,
    merge,
    others,
    own_components,
)


def preview(account: Account, request: PreviewRequest) -> PreviewResult:
    """Check recipe, artifacts and deployment document, and name what stays.

    Raises:
        LimitError: A limit of Greengrass would be exceeded.
    """
    view = View(account, request.target, request.package.application)
    _check_component(account, request)
    arns = [view.group_arn]
    if view.selector.things:
        arns = [fleet.thing_arn(account, thing) for thing in view.selector.things]
    ours = own_components(
        account.config,
        request.package.application,
        request.release,
        runtime.installed_version(),
    )
    notes: list[str] = []
    staying: dict[str, str] = {}
    for arn in arns:
        base = view.base(arn)
        present: Components = {} if base is None else view.components(base)
        merged = document(merge(present, ours))
        check_document(fleet.name_of(arn), merged)
        kind = "thing" if view.selector.things else "thinggroup"
        if needs_fetching(kind, merged):
            notes.append(
                f"the deployment to '{fleet.name_of(arn)}' has {len(merged)} bytes: devices need "
                "greengrass:GetDeploymentConfiguration in their policy"
            )
        kept = others(present, account.config, request.package.application)
        staying |= {name: str(kept[name].get("componentVersion", "")) for name in kept}
    if staying:
        listed = ", ".join(f"{name} {version}" for name, version in sorted(staying.items()))
        notes.append(f"stays as it is: {listed}")
    return PreviewResult(notes=tuple(notes))


def _check_component(account: Account, request: PreviewRequest) -> None:
    """Render the recipe that the release would get, with documents of about their size."""
    document_ = ReleaseDocument(
        application=request.package.application,
        number=request.release,
        version=request.package.version,
        package=request.package.digest,
        settings=DeviceSettings(),
    )
    release = Release(document=document_, envelope=b"e" * 2048, signature=b"s" * 4096)
    wanted = PackageRequest(target=request.target, package=request.package, release=release)
    try:
        _, component = release_files(account, wanted)
    except PackageError:
        return  # neither here nor there: the step that needs it says so
    model_recipe(component)
