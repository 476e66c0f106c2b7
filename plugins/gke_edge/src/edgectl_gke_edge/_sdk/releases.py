"""A release as pods need it: its place in the registry, and the images that go with it."""

from __future__ import annotations

from edgectl.api import NotFoundError, Record, RegistryError, ReleaseDocument, read_release
from edgectl_gke_edge._sdk.account import Account
from edgectl_gke_edge._sdk.images import Images, images_of
from edgectl_gke_edge.pod import PodOrder
from edgectl_gke_edge.repository import repository


class Packaged(Record, frozen=True, kw_only=True):
    """A release that was packaged.

    Attributes:
        digest: The release's digest in the registry.
        images: The images that were there when it was packaged.
    """

    digest: str
    document: ReleaseDocument
    images: Images

    def order(
        self, account: Account, *, cluster: str, hardware: str, with_volume: bool
    ) -> PodOrder:
        """Return what a pod of the release is made for."""
        document = self.document
        return PodOrder(
            application=document.application,
            cluster=cluster,
            hardware=hardware,
            release=document.number,
            package=document.package,
            version=document.version,
            soak_s=document.settings.soak_s,
            runtime_image=self.images.runtime,
            repository=repository(account.config, document.application),
            release_digest=self.digest,
            volume_image=self.images.volume if with_volume else "",
        )


def packaged(account: Account, application: str, number: int) -> Packaged:
    """Return a release that was packaged; it never changes, so it is read once.

    Raises:
        NotFoundError: There is none.
    """
    place = repository(account.config, application)

    def read() -> Packaged:
        try:
            found = read_release(place, number)
        except RegistryError as exc:
            if exc.vendor_code in {"MANIFEST_UNKNOWN", "NAME_UNKNOWN"}:
                raise NotFoundError(
                    f"the registry has no release {number} of '{application}' in '{place}'",
                    hint="the `package` step makes it; run `edgectl deploy` again",
                    vendor_code=exc.vendor_code,
                ) from exc
            raise
        images = images_of(account, application, number)
        return Packaged(digest=found.digest, document=found.document, images=images)

    return account.remember(("packaged", application, number), read)
