"""Making and checking DSSE envelopes with publishers' keys.

An envelope counts as signed if one of its signatures is by one of the given keys. The key's hint
only says which key to try first; trust comes from the list alone. Source: DSSE 1.0.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

from edge_components.contract.signature import (
    Envelope,
    EnvelopeSignature,
    decode_base64,
    pae,
)
from edgectl.errors import SignatureError
from edgectl.package.files import contract_errors
from edgectl.package.keys import PublicKey, SigningKey

MAX_SIGNATURES = 16


def seal(payload_type: str, payload: bytes, key: SigningKey, *, keyid: str = "") -> Envelope:
    """Return ``payload`` in an envelope that ``key`` signed."""
    signature = key.sign(pae(payload_type, payload))
    return Envelope(
        payload=base64.b64encode(payload).decode(),
        payload_type=payload_type,
        signatures=(EnvelopeSignature(sig=base64.b64encode(signature).decode(), keyid=keyid),),
    )


def unseal(envelope: Envelope, publishers: Iterable[str], *, what: str) -> tuple[bytes, str]:
    """Return an envelope's payload and the hint of the publisher who signed it.

    Args:
        envelope: What came from outside.
        publishers: PEM public keys that are trusted.
        what: What is signed, for messages.

    Raises:
        SignatureError: No trusted key signed it.
    """
    if len(envelope.signatures) > MAX_SIGNATURES:
        raise SignatureError(f"{what} has more than {MAX_SIGNATURES} signatures")
    keys = [PublicKey(pem) for pem in publishers]
    with contract_errors(what):
        payload = envelope.payload_bytes()
        signatures = [decode_base64(one.sig) for one in envelope.signatures]
    signed = pae(envelope.payload_type, payload)
    for key in keys:
        if any(key.verifies(signature, signed) for signature in signatures):
            return payload, key.hint
    raise SignatureError(
        f"{what} is not signed by a trusted publisher",
        hint="Check that the right public key is given, and that nothing was changed.",
    )
