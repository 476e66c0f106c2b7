"""``package``: the package and its release into the registry; and the image, if baked."""

from __future__ import annotations

from collections.abc import Callable

from edgectl.api import PackageRequest, PackageResult, push_package, push_release
from edgectl_azure_iot_edge._sdk.account import Account
from edgectl_azure_iot_edge._sdk.content import blob_path
from edgectl_azure_iot_edge._sdk.images import bake, pinned_image


def publish(
    account: Account, request: PackageRequest, progress: Callable[[str], None]
) -> PackageResult:
    """Push what is missing; the release's place is ``host/repository:rN``.

    Raises:
        ConflictError: The number is taken by another content.
        NotFoundError: The registry does not have the runtime's image.
        RegistryError: The registry refused, or could not be reached.
    """
    release, package = request.release, request.package
    reference = account.repository(release.application)
    image = pinned_image(account.config)
    # Going on, or back, from another machine: the registry has the package, the store has not.
    is_here = blob_path(package.layout, release.package).exists()
    sent = 0
    if is_here:
        sent = push_package(package.layout, release.package, reference, deltas=request.deltas)
    placed = push_release(
        release.envelope, release.package, reference, release.application, release.number
    )
    sent += placed.uploaded_bytes
    if account.config.runtime.bake and is_here:
        digest, more = bake(reference, request, image)
        sent += more
        progress(f"the module's image of release {release.number} is {digest[:19]}")
    return PackageResult(location=f"{reference}:r{release.number}", uploaded_bytes=sent)
