"""``package``: bring package, release and images to the registry."""

from __future__ import annotations

from edgectl.api import (
    LimitError,
    PackageRequest,
    PackageResult,
    ReleaseDocument,
    push_package,
    push_release,
)
from edgectl_gke_edge._sdk.account import Account
from edgectl_gke_edge._sdk.images import settle_images
from edgectl_gke_edge._sdk.kube import Kube
from edgectl_gke_edge._sdk.layout import blob_path
from edgectl_gke_edge.limits import has_image_volumes
from edgectl_gke_edge.repository import repository


def package(account: Account, request: PackageRequest) -> PackageResult:
    """Push what the registry does not have yet.

    Raises:
        ConflictError: The release's number is taken by another content.
        RegistryError: The registry refused, or could not be reached.
    """
    release = request.release
    place = repository(account.config, release.application)
    # Going back from another machine: the registry has the package, the local store has not.
    is_here = blob_path(request.package.layout, request.package.digest).exists()
    sent = 0
    if is_here:
        sent = push_package(
            request.package.layout, request.package.digest, place, deltas=request.deltas
        )
    made = push_release(
        release.envelope, release.package, place, release.application, release.number
    )
    sent += made.uploaded_bytes
    sent += settle_images(account, request, with_volume=is_here and _wants_volume(account, request))
    return PackageResult(location=f"{place}@{made.digest}", uploaded_bytes=sent)


def _wants_volume(account: Account, request: PackageRequest) -> bool:
    document = request.release.document
    if account.config.delivery != "auto":
        return account.config.delivery == "image"
    _, clusters = account.of(request.target)
    answers = account.each(clusters, lambda _cluster, kube: takes_volume(account, kube, document))
    return any(answer.lost is None and answer.value for answer in answers)


def takes_volume(account: Account, kube: Kube, document: ReleaseDocument) -> bool:
    """Whether pods of a cluster get the package as an image volume.

    Where the network has limits they fetch it themselves: the kubelet knows none.

    Raises:
        LimitError: The settings want that, and the cluster cannot.
    """
    delivery = account.config.delivery
    if delivery == "init":
        return False
    version = account.remember(("version", kube.cluster), kube.version)
    if delivery == "auto" and document.settings.network is not None:
        return False
    if delivery == "auto":
        return has_image_volumes(version, by_default=True)
    if not has_image_volumes(version, by_default=False):
        raise LimitError(
            f"cluster '{kube.cluster}' has Kubernetes {version[0]}.{version[1]}, which has no "
            "image volumes",
            hint="set `delivery: auto` or `init` in providers.gke",
        )
    return True
