"""``enroll`` and ``retire``: a thing with a certificate, a policy, a role alias and a group.

The private key is made here and never leaves this machine but in the device's files; AWS gets a
signing request only. Adding a known device again gives it a new certificate: the key of the old
one cannot be had again.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgectl.api import (
    PROFILES,
    ConflictError,
    Device,
    EnrollRequest,
    EnrollResult,
    NotFoundError,
    PlanError,
    ProjectError,
    RetireRequest,
    RetireResult,
)
from edgectl_aws_greengrass._sdk import fleet
from edgectl_aws_greengrass._sdk.account import Account
from edgectl_aws_greengrass.devicefiles import (
    CA_FILE,
    CERTIFICATE_FILE,
    DEVICE_FILE,
    KEY_FILE,
    LITE_FILE,
    NUCLEUS_FILE,
    Place,
    device_config,
    device_policy,
    install_notes,
    lite_config,
    nucleus_config,
)
from edgectl_aws_greengrass.selector import read_selector

DEVICE_CA = "EDGECTL_AWS_DEVICE_CA"
ROOT_NAME = "Amazon Root CA 1"
ROOT_FINGERPRINT = "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e"
"""Its SHA-256, as Amazon Trust Services publishes it."""
_CORE_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
"""A thing's name without the colon, which Greengrass does not take (manual-installation)."""
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def enroll(account: Account, project_dir: Path, request: EnrollRequest) -> EnrollResult:
    """Make a device known and return its files.

    Raises:
        PlanError: The target's selector can never find the device, or its name or hardware cannot
            be.
        NotFoundError: The role alias is not there, and no role is configured to make it with.
    """
    selector = read_selector(request.target)
    _check_fits(request, selector.things)
    ca = _authorities(account, project_dir)
    alias_arn = _role_alias(account)
    labels = {**request.labels, fleet.HARDWARE: request.hardware}
    _ensure_thing(account, request.name, labels)
    if selector.group:
        _join(account, selector.group, request.name)
    earlier = _certificates(account, request.name)
    certificate, key = _certify(account, request.name, alias_arn)
    place = Place(
        region=account.region,
        data_endpoint=account.data_endpoint(),
        credential_endpoint=account.credential_endpoint(),
    )
    files = {
        NUCLEUS_FILE: nucleus_config(account.config, place, request.name),
        LITE_FILE: lite_config(account.config, place, request.name),
        DEVICE_FILE: device_config(account.config, request).to_toml(),
        CERTIFICATE_FILE: certificate,
        KEY_FILE: key,
        CA_FILE: ca,
    }
    notes = install_notes(account.config, request)
    if earlier:
        still = f"{len(earlier)} earlier certificates of '{request.name}' stay valid"
        notes = (f"{still}; `edgectl devices remove` and `add` end them", *notes)
    device = Device(
        id=request.name, name=request.name, hardware=request.hardware, labels=request.labels
    )
    return EnrollResult(device=device, files=files, notes=notes)


def retire(account: Account, request: RetireRequest) -> RetireResult:
    """Forget a device that edgectl added: its certificates end at once.

    Raises:
        PlanError: edgectl did not add it.
    """
    name = request.device
    found = account.find("iot", "DescribeThing", f"look for '{name}'", thingName=name)
    if found is None:
        return RetireResult(removed=False)
    if fleet.HARDWARE not in (found.get("attributes") or {}):
        raise PlanError(
            f"thing '{name}' was not added by edgectl, so it is not removed",
            hint="take it out of the target's thing group, or delete it in AWS IoT",
        )
    for arn in _certificates(account, name):
        _end_certificate(account, name, arn)
    what = f"remove core device '{name}'"
    account.find("greengrassv2", "DeleteCoreDevice", what, coreDeviceThingName=name)
    account.call("iot", "DeleteThing", f"remove '{name}'", thingName=name)
    return RetireResult(removed=True)


def _check_fits(request: EnrollRequest, things: tuple[str, ...]) -> None:
    if not _CORE_NAME.fullmatch(request.name):
        raise PlanError(
            f"'{request.name}' cannot be the name of a core device",
            hint="letters, digits, dashes and underscores, at most 128",
        )
    if request.hardware not in PROFILES:
        known = ", ".join(PROFILES)
        raise PlanError(f"unknown hardware '{request.hardware}'", hint=f"known: {known}")
    if things and request.name not in things:
        raise PlanError(
            f"target '{request.target.name}' lists its things by name, "
            f"and '{request.name}' is not among them",
            hint=f"add it to targets.{request.target.name}.selector.things",
        )


def _ensure_thing(account: Account, name: str, attributes: Mapping[str, str]) -> None:
    found = account.find("iot", "DescribeThing", f"look for '{name}'", thingName=name)
    kind = (found or {}).get("thingTypeName") or fleet.THING_TYPE
    if found is None or "thingTypeName" not in found:
        with contextlib.suppress(ConflictError):  # somebody made it
            account.call("iot", "CreateThingType", f"make the type '{kind}'", thingTypeName=kind)
    if found is None:
        account.call(
            "iot",
            "CreateThing",
            f"add '{name}'",
            thingName=name,
            thingTypeName=kind,
            attributePayload={"attributes": dict(attributes)},
        )
    elif not attributes.items() <= (found.get("attributes") or {}).items():
        account.call(
            "iot",
            "UpdateThing",
            f"describe '{name}'",
            thingName=name,
            thingTypeName=kind,
            attributePayload={"attributes": dict(attributes), "merge": True},
        )


def _join(account: Account, group: str, name: str) -> None:
    what = f"look for thing group '{group}'"
    if account.find("iot", "DescribeThingGroup", what, thingGroupName=group) is None:
        account.call("iot", "CreateThingGroup", f"make '{group}'", thingGroupName=group)
    account.call(
        "iot",
        "AddThingToThingGroup",
        f"put '{name}' into '{group}'",
        thingGroupName=group,
        thingName=name,
    )


def _role_alias(account: Account) -> str:
    """Return the role alias's ARN; it is taken as it is, or made with the configured role."""
    alias, role = account.config.token_exchange_role_alias, account.config.token_exchange_role
    what = f"look for the role alias '{alias}'"
    found = account.find("iot", "DescribeRoleAlias", what, roleAlias=alias)
    if found is not None:
        return str(found["roleAliasDescription"]["roleAliasArn"])
    if role is None:
        raise NotFoundError(
            f"there is no role alias '{alias}', which devices get their credentials through",
            hint="set `token_exchange_role` of providers.aws to the ARN of a role that "
            "credentials.iot.amazonaws.com may assume; docs/providers/aws.md makes one",
        )
    made = account.call(
        "iot", "CreateRoleAlias", f"make the role alias '{alias}'", roleAlias=alias, roleArn=role
    )
    return str(made["roleAliasArn"])


def policy_name(account: Account) -> str:
    """Return the name of the policy that our devices share."""
    return f"{account.config.publisher}-core-device"


def _ensure_policy(account: Account, alias_arn: str) -> str:
    name = policy_name(account)
    wanted = device_policy(account.arn("iot", "x").rsplit(":", 1)[0], alias_arn)
    found = account.find("iot", "GetPolicy", f"read the policy '{name}'", policyName=name)
    if found is None:
        what = f"make the policy '{name}'"
        account.call("iot", "CreatePolicy", what, policyName=name, policyDocument=wanted)
    elif json.loads(found["policyDocument"]) != json.loads(wanted):
        _forget_oldest_version(account, name)
        account.call(
            "iot",
            "CreatePolicyVersion",
            f"bring the policy '{name}' up to date",
            policyName=name,
            policyDocument=wanted,
            setAsDefault=True,
        )
    return name


def _forget_oldest_version(account: Account, name: str) -> None:
    """Make room: a policy has at most five versions."""
    what = f"list the versions of the policy '{name}'"
    answer = account.call("iot", "ListPolicyVersions", what, policyName=name)
    versions = [v for v in answer["policyVersions"] if not v["isDefaultVersion"]]
    if len(versions) >= 4:
        oldest = min(versions, key=lambda v: int(v["versionId"]))
        account.call(
            "iot",
            "DeletePolicyVersion",
            f"remove an old version of the policy '{name}'",
            policyName=name,
            policyVersionId=oldest["versionId"],
        )


def _certify(account: Account, name: str, alias_arn: str) -> tuple[str, str]:
    """Return a new certificate of the device and its key, both PEM."""
    policy = _ensure_policy(account, alias_arn)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    request = (
        x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    )
    made = account.call(
        "iot",
        "CreateCertificateFromCsr",
        f"make a certificate for '{name}'",
        certificateSigningRequest=request.public_bytes(serialization.Encoding.PEM).decode(),
        setAsActive=True,
    )
    arn = made["certificateArn"]
    account.call("iot", "AttachPolicy", f"let '{name}' connect", policyName=policy, target=arn)
    # The policy's variables stand for this thing only if no other one has the certificate.
    account.call(
        "iot",
        "AttachThingPrincipal",
        f"let '{name}' connect",
        thingName=name,
        principal=arn,
        thingPrincipalType="EXCLUSIVE_THING",
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return str(made["certificatePem"]), secret.decode()


def _certificates(account: Account, name: str) -> tuple[str, ...]:
    what = f"list the certificates of '{name}'"
    answer = account.find("iot", "ListThingPrincipals", what, thingName=name)
    return tuple((answer or {}).get("principals", ()))


def _end_certificate(account: Account, name: str, arn: str) -> None:
    """Take a certificate from a thing, and end it if no other thing uses it."""
    what = f"end a certificate of '{name}'"
    account.find("iot", "DetachThingPrincipal", what, thingName=name, principal=arn)
    users: dict[str, Any] = account.call("iot", "ListPrincipalThings", what, principal=arn)
    if users.get("things"):
        return
    account.find("iot", "DetachPolicy", what, policyName=policy_name(account), target=arn)
    number = arn.rsplit("/", 1)[-1]
    account.call("iot", "UpdateCertificate", what, certificateId=number, newStatus="INACTIVE")
    account.call("iot", "DeleteCertificate", what, certificateId=number, forceDelete=True)


def _authorities(account: Account, project_dir: Path) -> str:
    """Return the authorities that the device shall trust.

    Raises:
        ProjectError: The configured file cannot be read.
    """
    given = account.config.device_ca or os.environ.get(DEVICE_CA)
    if given is None:
        return amazon_root()
    path = project_dir / Path(given).expanduser()
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as exc:
        raise ProjectError(f"the authorities '{path}' cannot be read: {exc}") from exc


def amazon_root() -> str:
    """Return Amazon's root certificate for IoT endpoints, from the SDK's own bundle."""
    from botocore.httpsession import get_cert_path  # noqa: PLC0415 - only where it is needed

    bundle = Path(get_cert_path(verify=True)).read_text(encoding="utf-8")
    for block in _PEM.findall(bundle):
        content = base64.b64decode("".join(block.splitlines()[1:-1]))
        if hashlib.sha256(content).hexdigest() == ROOT_FINGERPRINT:
            return f"{block}\n"
    raise NotFoundError(
        f"the SDK's certificates do not have '{ROOT_NAME}'",
        hint="set `device_ca` of providers.aws to Amazon's root certificate",
    )
