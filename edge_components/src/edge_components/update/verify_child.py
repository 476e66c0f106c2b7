"""The child process of ``trust``: one request in, one answer out."""

from __future__ import annotations

import sys

import msgspec

from edge_components.contract.errors import ContractError
from edge_components.contract.state import Reason
from edge_components.update.trust import VerifyAnswer, VerifyRequest
from edge_components.verify import VerifyError, load_publishers, verify_package, verify_release


def answer(request: VerifyRequest) -> VerifyAnswer:
    """Return what verification finds."""
    try:
        publishers = load_publishers(request.publishers)
        if request.envelope is not None:
            return VerifyAnswer(release=verify_release(request.envelope, publishers))
        if request.bundle is None or request.manifest is None:
            return VerifyAnswer(reason=Reason.INTERNAL, detail="nothing to verify")
        verify_package(request.bundle, request.manifest, publishers)
    except VerifyError as exc:
        return VerifyAnswer(reason=exc.reason, detail=exc.detail, release=exc.claimed)
    except ContractError as exc:
        return VerifyAnswer(reason=Reason.UNTRUSTED_PUBLISHER, detail=str(exc))
    return VerifyAnswer()


def main() -> int:
    """Answer the request on standard input."""
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=VerifyRequest)
    sys.stdout.buffer.write(msgspec.json.encode(answer(request)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
