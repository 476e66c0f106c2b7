"""What a controller makes of a refusal to create pods: it is written down and tried again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgectl_gke_edge.emulator.nodes.api import ApiError, Obj


class CreateRefusedError(ApiError):
    """The API server refuses the pods of an owner: quota, pod security, a webhook."""

    def __init__(self, owner: Obj, kind: str, error: ApiError) -> None:
        name = f"{owner['metadata'].get('namespace', '')}/{owner['metadata']['name']}"
        super().__init__(error.code, error.reason, f"pods of {kind} {name}: {error}")
        self.owner = owner
        self.owner_kind = kind
        self.text = str(error)


@contextmanager
def refused_by_quota(owner: Obj, kind: str) -> Iterator[None]:
    """Name the owner in a refusal, for the event ``FailedCreate``.

    Raises:
        CreateRefusedError: The API server refused for good; other errors pass as they are.
    """
    try:
        yield
    except ApiError as exc:
        if exc.code in (400, 403, 422):
            raise CreateRefusedError(owner, kind, exc) from exc
        raise
