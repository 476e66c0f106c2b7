"""Signed statements about a model version, for registries that keep no approvals of their own.

An attestation is an in-toto statement in a DSSE envelope, signed with the project's publisher key:
whoever can write to a registry can move a tag there, but cannot say what the publisher said.
Source: in-toto attestation framework, Statement v1; DSSE 1.0.
"""

# ruff: noqa: PLC0415 - cryptography is heavy, and only whoever signs or verifies pays for it

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge_components.contract.digest import digest_hex
from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import canonical_json, decode_json
from edge_components.contract.signature import INTOTO_TYPE, Envelope
from edgectl.errors import ProjectError, SignatureError
from edgectl.project.load import load_project

if TYPE_CHECKING:
    from edgectl.package.keys import SigningKey

STATEMENT = "https://in-toto.io/Statement/v1"
MAX_BYTES = 1 << 20


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What a statement is about: a name, and digests by algorithm."""

    name: str
    digest: dict[str, str]


class Statement(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An in-toto statement whose predicate is words by name."""

    type: str = msgspec.field(name="_type", default=STATEMENT)
    subject: tuple[Subject, ...]
    predicate_type: str
    predicate: dict[str, str]


def attest(
    project_dir: Path, kind: str, subject: str, digest: str, predicate: dict[str, str]
) -> bytes:
    """Return a signed statement.

    Args:
        project_dir: The project whose publisher says it; EDGECTL_SIGNING_KEY comes first.
        kind: The predicate's type, an address.
        subject: The name of what it is about.
        digest: Its digest.
        predicate: What is said.

    Raises:
        ProjectError: There is no project, or EDGECTL_SIGNING_KEY names no file.
        SignatureError: The key cannot be used.
    """
    from edgectl.package.dsse import seal

    statement = Statement(
        subject=(Subject(name=subject, digest={"sha256": digest_hex(digest)}),),
        predicate_type=kind,
        predicate=predicate,
    )
    payload = canonical_json(msgspec.to_builtins(statement))
    return msgspec.json.encode(seal(INTOTO_TYPE, payload, _key(project_dir)))


def read_attestation(project_dir: Path, data: bytes, kind: str, digest: str) -> dict[str, str]:
    """Return what the project's publisher said of something.

    Raises:
        SignatureError: Somebody else said it, or it is about something else.
        ProjectError: There is no project, or EDGECTL_SIGNING_KEY names no file.
    """
    from edgectl.package.dsse import unseal

    what = "the attestation"
    try:
        envelope = decode_json(data, Envelope, what=what, max_bytes=MAX_BYTES)
        payload, _hint = unseal(envelope, (_key(project_dir).public_pem,), what=what)
        statement = decode_json(payload, Statement, what=what, max_bytes=MAX_BYTES)
    except ContractError as exc:
        raise SignatureError(f"{what} cannot be read: {exc}") from exc
    about = {one.digest.get("sha256") for one in statement.subject}
    if (envelope.payload_type, statement.type) != (INTOTO_TYPE, STATEMENT):
        raise SignatureError(f"{what} is not an in-toto statement")
    if statement.predicate_type != kind or about != {digest_hex(digest)}:
        raise SignatureError(f"{what} is about something else than '{digest}'")
    return statement.predicate


def _key(project_dir: Path) -> SigningKey:
    from edgectl.package.keys import ensure_key, load_key

    given = os.environ.get("EDGECTL_SIGNING_KEY")
    if given:
        if not Path(given).is_file():
            raise ProjectError(
                f"EDGECTL_SIGNING_KEY names '{given}', which is no file",
                hint="let it name the publisher's private key (PEM), or unset it",
            )
        return load_key(Path(given))
    project = load_project(project_dir)
    return ensure_key(project.file("signing.key", project.spec.signing.key))
