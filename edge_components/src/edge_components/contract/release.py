"""The release: a signed, ever-rising number for one application that points at a package.

A device takes a release only if a publisher that it trusts signed it, and only if its number is
higher than every release that it took before. Rolling back is therefore a *new* release that
points at an older package.

Devices are strict, and older than the releases that they are given: one refuses a setting that it
does not know, rather than run the package otherwise than was signed. So a setting that has its
default is not written, and a release that uses nothing new is readable by every device. A default
is therefore part of the format: it never changes.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edge_components.contract.digest import check_digest, sha256_digest
from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import canonical_json, decode_json
from edge_components.contract.signature import Envelope
from edge_components.contract.window import Hours

RELEASE_TYPE = "application/vnd.edgectl.release.v1+json"
RELEASE_FILE = "edgectl-release.json"
MANIFEST_FILE = "edgectl-manifest.json"
MAX_RELEASE_BYTES = 64 << 10


class NetworkSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the link of a site bears while a device fetches a package's files.

    Attributes:
        bandwidth: Bytes a second of one device at most; 0 is no limit.
        hours: When files may be fetched; None is always.
        zone: Whose clock ``hours`` goes by (IANA name); "" is the device's own.
    """

    bandwidth: int = 0
    hours: Hours | None = None
    zone: str = ""


class DeviceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the device runs the package; part of what is signed, where it differs from the default.

    Attributes:
        soak_s: Seconds that the new version has to serve without a fault before it is kept.
        precision: The variant to use; None lets the hardware profile and the golden check decide.
        telemetry_sample: Share of predictions that are recorded, 0 to 1.
        record: What of a prediction leaves the device: nothing, its class and score, or the
            tensors too.
        redact: Attributes that never leave the device, such as ``input.age``; ``*`` stands for
            any characters.
        network: How the package's files may be fetched; None sets no limits. A device that does
            not know this refuses the release, rather than fill a link that others need.
    """

    soak_s: float = 10.0
    precision: Literal["fp32", "fp16", "int8"] | None = None
    telemetry_sample: float = 1.0
    record: Literal["none", "output", "input+output"] = "output"
    redact: tuple[str, ...] = ()
    network: NetworkSettings | None = None


class ReleaseDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the publisher signs: application, number, package digest and settings."""

    format: Literal["edgectl.release/v1"] = msgspec.field(default="edgectl.release/v1")
    application: str
    number: int
    version: str
    package: str
    settings: DeviceSettings = DeviceSettings()

    def to_bytes(self) -> bytes:
        """Return the canonical bytes that are signed, without settings that have their default."""
        return canonical_json({**msgspec.structs.asdict(self), "settings": _told(self.settings)})

    def content_digest(self) -> str:
        """Return a digest of everything but the number: equal for equal content.

        It is the same before and after this program learns a new setting.
        """
        return sha256_digest(msgspec.structs.replace(self, number=0).to_bytes())


def _told(settings: DeviceSettings) -> dict[str, object]:
    # Not omit_defaults: that compares by identity, so a float that was read would be written.
    default = msgspec.structs.asdict(DeviceSettings())
    return {
        name: value
        for name, value in msgspec.structs.asdict(settings).items()
        if value != default[name]
    }


def parse_release(payload: bytes) -> ReleaseDocument:
    """Read a release whose signature has been verified.

    Raises:
        ContractError: With a code that names the rule that was broken.
    """
    release = decode_json(
        payload,
        ReleaseDocument,
        what="the release",
        max_bytes=MAX_RELEASE_BYTES,
        unique_keys=True,
    )
    check_digest(release.package)
    if not 0 < release.number < 1 << 53:
        raise ContractError("bad-release", f"{release.number} is not a release number")
    if not 0 <= release.settings.soak_s <= 86_400:
        raise ContractError("bad-release", f"a soak of {release.settings.soak_s} s is not allowed")
    if release.settings.network is not None:
        _check_network(release.settings.network)
    return release


def _check_network(network: NetworkSettings) -> None:
    if not 0 <= network.bandwidth < 1 << 53:
        raise ContractError("bad-release", f"{network.bandwidth} is no number of bytes a second")
    hours = network.hours
    if hours is None:
        return
    minutes, days = {hours.begin, hours.end}, set(hours.days)
    if not (minutes <= set(range(1440)) and days and days <= set(range(7))):
        raise ContractError("bad-release", "the hours for fetching files are not those of a week")


def parse_release_envelope(data: bytes) -> Envelope:
    """Read the DSSE envelope around a release; its signature is not verified here.

    Raises:
        ContractError: ``bad-json``, ``too-large``, ``too-deep`` or ``bad-release``.
    """
    envelope = decode_json(
        data,
        Envelope,
        what="the release envelope",
        max_bytes=2 * MAX_RELEASE_BYTES,
        unique_keys=True,
    )
    if envelope.payload_type != RELEASE_TYPE:
        raise ContractError("bad-release", "the envelope does not hold a release")
    return envelope
