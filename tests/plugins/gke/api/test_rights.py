"""Who gets in and who may do what, on our server and on a real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from lightkube import Client
from lightkube.core.exceptions import ApiError
from lightkube.models.authorization_v1 import ResourceAttributes, SelfSubjectAccessReviewSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.rbac_v1 import PolicyRule, RoleRef, Subject
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.authorization_v1 import SelfSubjectAccessReview
from lightkube.resources.core_v1 import ConfigMap, Namespace, Node, Pod
from lightkube.resources.rbac_authorization_v1 import (
    ClusterRole,
    ClusterRoleBinding,
    Role,
    RoleBinding,
)

from edgectl_gke_edge.emulator.kube.server import KubeServer

Server = Any
Certified = Callable[..., Client]
RBAC = "rbac.authorization.k8s.io"


def allow(client: Client, namespace: str, user: str, *rules: PolicyRule) -> None:
    """Give a user a role in a namespace."""
    metadata = ObjectMeta(name=user, namespace=namespace)
    client.create(Role(metadata=metadata, rules=list(rules)))
    subject = Subject(kind="User", name=user, apiGroup=RBAC)
    reference = RoleRef(apiGroup=RBAC, kind="Role", name=user)
    binding = RoleBinding(
        metadata=ObjectMeta(name=user, namespace=namespace), roleRef=reference, subjects=[subject]
    )
    client.create(binding)


def rule(group: str, resource: str, *verbs: str, names: list[str] | None = None) -> PolicyRule:
    return PolicyRule(
        apiGroups=[group], resources=[resource], verbs=list(verbs), resourceNames=names
    )


def message(error: pytest.ExceptionInfo[ApiError]) -> str:
    return error.value.status.message or ""


def test_a_token_that_is_not_known_is_unauthorized(
    server: Server, connect: Callable[[str], Client]
) -> None:
    stranger = connect(server.kubeconfig(token="nothing"))
    with pytest.raises(ApiError) as refused:
        list(stranger.list(Namespace))
    assert (refused.value.status.code, refused.value.status.reason) == (401, "Unauthorized")


def test_a_refusal_names_user_verb_resource_group_and_namespace(
    certified: Certified, namespace: str
) -> None:
    with pytest.raises(ApiError) as refused:
        list(certified("jane").list(Deployment, namespace=namespace))
    assert refused.value.status.reason == "Forbidden"
    assert message(refused) == (
        'deployments.apps is forbidden: User "jane" cannot list resource "deployments" in API '
        f'group "apps" in the namespace "{namespace}"'
    )


def test_a_refusal_at_the_cluster_says_so(certified: Certified) -> None:
    with pytest.raises(ApiError) as refused:
        certified("jane").get(Node, "one")
    assert message(refused) == (
        'nodes "one" is forbidden: User "jane" cannot get resource "nodes" in API group "" at the '
        "cluster scope"
    )


def test_a_subresource_is_a_right_of_its_own(
    client: Client, certified: Certified, namespace: str
) -> None:
    allow(client, namespace, "lena", rule("", "pods", "get"))
    with pytest.raises(ApiError) as refused:
        list(certified("lena").log("p", namespace=namespace))
    assert 'cannot get resource "pods/log"' in message(refused)
    with pytest.raises(ApiError) as missing:
        certified("lena").get(Pod, "p", namespace=namespace)
    assert missing.value.status.code == 404


def test_a_role_holds_in_its_namespace_only(
    client: Client, certified: Certified, namespace: str
) -> None:
    allow(client, namespace, "ida", rule("", "configmaps", "create", "get"))
    ida = certified("ida")
    ida.create(ConfigMap(metadata=ObjectMeta(name="a", namespace=namespace)))
    with pytest.raises(ApiError, match="in the namespace"):
        ida.get(ConfigMap, "a", namespace="default")


def test_a_rule_may_be_for_certain_names(
    client: Client, certified: Certified, namespace: str
) -> None:
    allow(client, namespace, "nora", rule("", "configmaps", "get", names=["mine"]))
    client.create(ConfigMap(metadata=ObjectMeta(name="mine", namespace=namespace)))
    nora = certified("nora")
    nora.get(ConfigMap, "mine", namespace=namespace)
    with pytest.raises(ApiError, match="other"):
        nora.get(ConfigMap, "other", namespace=namespace)


def test_a_group_of_the_certificate_is_bound_in_the_whole_cluster(
    client: Client, certified: Certified
) -> None:
    name = "nodes-for-ops"
    client.apply(ClusterRole(metadata=ObjectMeta(name=name), rules=[rule("", "nodes", "list")]))
    binding = ClusterRoleBinding(
        metadata=ObjectMeta(name=name),
        roleRef=RoleRef(apiGroup=RBAC, kind="ClusterRole", name=name),
        subjects=[Subject(kind="Group", name="ops", apiGroup=RBAC)],
    )
    client.apply(binding)
    assert isinstance(list(certified("paul", "ops").list(Node)), list)


def test_anybody_may_ask_what_he_may_do(
    client: Client, certified: Certified, namespace: str
) -> None:
    allow(client, namespace, "vera", rule("apps", "daemonsets", "patch"))

    def may(verb: str) -> bool:
        asked = ResourceAttributes(
            verb=verb, group="apps", resource="daemonsets", namespace=namespace
        )
        spec = SelfSubjectAccessReviewSpec(resourceAttributes=asked)
        answer = certified("vera").create(SelfSubjectAccessReview(spec=spec))
        assert answer.status is not None
        return answer.status.allowed

    assert (may("patch"), may("delete")) == (True, False)


# Ours alone


def test_a_service_accounts_token_is_its_user(
    own: KubeServer, own_client: Client, own_namespace: str, connect: Callable[[str], Client]
) -> None:
    path = f"/api/v1/namespaces/{own_namespace}/serviceaccounts/default/token"
    answer = post(own, path, {"spec": {"expirationSeconds": 600}})
    user = f"system:serviceaccount:{own_namespace}:default"
    allow(own_client, own_namespace, user, rule("", "configmaps", "list"))
    client = connect(own.kubeconfig(token=answer.json()["status"]["token"]))
    assert list(client.list(ConfigMap, namespace=own_namespace))


def post(server: KubeServer, path: str, body: dict[str, Any]) -> httpx.Response:
    import ssl  # noqa: PLC0415

    context = ssl.create_default_context(cadata=server.ca)
    headers = {"Authorization": f"Bearer {server.token}"}
    return httpx.post(f"{server.url}{path}", json=body, headers=headers, verify=context)


def test_a_denied_verb_is_refused_even_to_the_administrator(
    own: KubeServer, own_client: Client, own_namespace: str
) -> None:
    own.deny("create", "configmaps")
    try:
        with pytest.raises(ApiError, match='cannot create resource "configmaps"'):
            own_client.create(ConfigMap(metadata=ObjectMeta(name="a", namespace=own_namespace)))
    finally:
        own.allow_again()
    own_client.create(ConfigMap(metadata=ObjectMeta(name="a", namespace=own_namespace)))


def test_a_removed_token_is_unauthorized_from_then_on(
    own: KubeServer, connect: Callable[[str], Client]
) -> None:
    token = own.add_user("temp", ("system:masters",))
    client = connect(own.kubeconfig(token=token))
    list(client.list(Namespace))
    own.remove_token(token)
    with pytest.raises(ApiError, match="Unauthorized"):
        list(client.list(Namespace))
