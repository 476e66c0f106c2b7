"""What an API server and Google say, as errors that a user can act on."""

from __future__ import annotations

import pytest

from edgectl.api import (
    AuthError,
    ConflictError,
    LimitError,
    NotFoundError,
    ProviderError,
    ThrottledError,
    UnreachableError,
)
from edgectl_gke_edge.errors import (
    CLOCK_HINT,
    Cause,
    Refusal,
    from_google,
    from_refusal,
    no_credentials,
    not_reached,
    refused_credentials,
)

FORBIDDEN = (
    'daemonsets.apps is forbidden: User "jane" cannot patch resource "daemonsets" in API group '
    '"apps" in the namespace "edgectl-tiny"'
)


def refusal(status: int, reason: str = "", message: str = "", *causes: Cause) -> Refusal:
    return Refusal(cluster="lot-1", status=status, reason=reason, message=message, causes=causes)


def test_a_right_that_is_missing_is_named_with_verb_and_resource() -> None:
    error = from_refusal("apply DaemonSet 'x'", refusal(403, "Forbidden", FORBIDDEN))
    assert isinstance(error, AuthError)
    assert error.message == (
        "cannot apply DaemonSet 'x': `patch` of `daemonsets.apps` in namespace 'edgectl-tiny' is "
        "not allowed in cluster 'lot-1'"
    )
    assert "add verb `patch` for `daemonsets.apps`" in error.hint


def test_a_right_outside_namespaces_is_named_too() -> None:
    said = 'nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the'
    error = from_refusal("list nodes", refusal(403, "Forbidden", said))
    assert "`list` of `nodes` is not allowed" in error.message


def test_a_quota_is_a_limit_that_is_named() -> None:
    said = 'pods "x" is forbidden: exceeded quota: gpus, requested: nvidia.com/gpu=1, used: 4'
    error = from_refusal("start the training", refusal(403, "Forbidden", said))
    assert isinstance(error, LimitError)
    assert "quota 'gpus' of cluster 'lot-1' is exceeded" in error.message
    assert error.vendor_code == "QuotaExceeded"


def test_pod_security_is_told_as_such() -> None:
    said = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": hostPath volumes'
    error = from_refusal("apply", refusal(403, "Forbidden", said))
    assert (error.vendor_code, "pod-security" in error.hint) == ("PodSecurity", True)


def test_a_conflict_names_manager_and_field() -> None:
    cause = Cause(
        reason="FieldManagerConflict",
        field=".spec.template.spec.priorityClassName",
        message='conflict with "kubectl" using apps/v1',
    )
    error = from_refusal("apply DaemonSet 'x'", refusal(409, "Conflict", "Apply failed", cause))
    assert isinstance(error, ConflictError)
    assert '"kubectl" has .spec.template.spec.priorityClassName' in error.message
    assert error.vendor_code == "FieldManagerConflict"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthError),
        (404, NotFoundError),
        (409, ConflictError),
        (429, ThrottledError),
        (500, UnreachableError),
        (503, UnreachableError),
        (422, ProviderError),
    ],
)
def test_every_status_has_its_error_and_keeps_the_server_s_word(
    status: int, kind: type[ProviderError]
) -> None:
    error = from_refusal("do it", refusal(status, "TheirWord", "because"))
    assert type(error) is kind
    assert error.vendor_code == "TheirWord"
    assert "because" in error.message
    assert "lot-1" in error.message


def test_a_token_of_the_future_is_a_matter_of_clocks() -> None:
    error = from_refusal("list", refusal(401, "Unauthorized", "token is not yet valid"))
    assert error.hint == CLOCK_HINT
    error = not_reached("list", "lot-1", "certificate is not yet valid", "ConnectError")
    assert error.hint == CLOCK_HINT


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("UNAUTHENTICATED", AuthError),
        ("PERMISSION_DENIED", AuthError),
        ("NOT_FOUND", NotFoundError),
        ("RESOURCE_EXHAUSTED", ThrottledError),
        ("UNAVAILABLE", UnreachableError),
        ("DEADLINE_EXCEEDED", UnreachableError),
        ("INVALID_ARGUMENT", ProviderError),
    ],
)
def test_google_s_codes_have_their_errors(code: str, kind: type[ProviderError]) -> None:
    error = from_google("list clusters", code, "said so")
    assert (type(error), error.vendor_code) == (kind, code)
    assert error.message == "cannot list clusters: said so"


def test_a_missing_permission_of_google_is_named() -> None:
    said = "Required 'container.clusters.list' permission(s) for 'projects/p'."
    assert "container.clusters.list" in from_google("list", "PERMISSION_DENIED", said).hint


def test_credentials_that_are_missing_and_those_that_ended_are_told_apart() -> None:
    assert no_credentials("ask", "none found").vendor_code == "NoCredentials"
    assert "log in again" in refused_credentials("ask", "invalid_grant: Token expired").hint
    skewed = "invalid_grant: Invalid JWT: Token must be a short-lived token (60 minutes)"
    assert refused_credentials("ask", skewed).hint == CLOCK_HINT
