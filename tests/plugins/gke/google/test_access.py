"""Tokens, rights, the connect gateway and faults."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable
from typing import Any

import google.auth.exceptions
import httpx
import pytest
import yaml
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import edgecontainer_v1
from google.cloud.gkeconnect import gateway_v1
from google_calls import fetch_token

from edgectl_gke_edge.emulator.google.server import GoogleServer
from edgectl_gke_edge.emulator.kube.server import KubeServer

PROJECT = "parking"
PLACE = f"projects/{PROJECT}/locations/us-central1"
LOT = f"{PLACE}/clusters/lot-1"
Connect = Callable[..., Any]


def call(cluster: KubeServer, **more: Any) -> httpx.Response:
    context = ssl.create_default_context(cadata=cluster.ca)
    return httpx.get(f"{cluster.url}/api/v1/namespaces", verify=context, **more)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def credentials_for(server: GoogleServer, token: str, name: str) -> Any:
    transport = gateway_v1.GatewayControlClient.get_transport_class("rest")(
        host=server.http_address, credentials=AnonymousCredentials(), url_scheme="http"
    )
    client = gateway_v1.GatewayControlClient(transport=transport)
    metadata = [("authorization", f"Bearer {token}")]
    request = gateway_v1.GenerateCredentialsRequest(name=name)
    return client.generate_credentials(request=request, metadata=metadata)


# Tokens


def test_a_call_without_a_known_token_is_unauthenticated(connect: Connect) -> None:
    client = connect(edgecontainer_v1.EdgeContainerClient, as_token="ya29.unknown")
    with pytest.raises(exceptions.Unauthenticated):
        client.get_cluster(name=LOT)


def test_a_revoked_token_is_refused_and_a_new_one_taken(
    edge: Any, connect: Connect, server: GoogleServer
) -> None:
    server.account.identity.revoke_all()
    with pytest.raises(exceptions.Unauthenticated):
        edge.get_cluster(name=LOT)
    fresh = fetch_token(server.add_service_account("again"))
    client = connect(edgecontainer_v1.EdgeContainerClient, as_token=fresh)
    assert client.get_cluster(name=LOT).name == LOT


def test_a_key_that_google_does_not_know_gets_no_token(server: GoogleServer) -> None:
    file = server.add_service_account("one")
    other = json.loads(server.add_service_account("two").read_text())
    key = json.loads(file.read_text()) | {"private_key": other["private_key"]}
    file.write_text(json.dumps(key))
    with pytest.raises(google.auth.exceptions.RefreshError, match="Invalid JWT Signature"):
        fetch_token(file)


def test_the_operators_token_opens_the_clusters(cluster: KubeServer, server: GoogleServer) -> None:
    token = fetch_token(server.add_service_account("operator"))
    assert call(cluster, headers=bearer(token)).status_code == 200


def test_a_revoked_token_opens_no_cluster(
    cluster: KubeServer, server: GoogleServer, token: str
) -> None:
    assert call(cluster, headers=bearer(token)).status_code == 200
    server.account.identity.revoke_all()
    assert call(cluster, headers=bearer(token)).status_code == 401


def test_an_edge_clusters_own_token_opens_it(edge: Any, cluster: KubeServer) -> None:
    made = edge.generate_access_token(cluster=LOT)
    assert call(cluster, headers=bearer(made.access_token)).status_code == 200
    assert made.expire_time is not None


def test_an_offline_credential_opens_a_cluster_without_a_token(
    edge: Any, cluster: KubeServer, tmp_path: Any
) -> None:
    made = edge.generate_offline_credential(cluster=LOT)
    (tmp_path / "crt").write_text(made.client_certificate)
    (tmp_path / "key").write_text(made.client_key)
    context = ssl.create_default_context(cadata=cluster.ca)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    answer = httpx.get(f"{cluster.url}/api/v1/namespaces", verify=context)
    assert answer.status_code == 200


# Rights and faults


def test_a_missing_permission_is_named(connect: Connect, server: GoogleServer) -> None:
    allowed = frozenset({"edgecontainer.clusters.list"})
    reader = fetch_token(server.add_service_account("reader", permissions=allowed))
    client = connect(edgecontainer_v1.EdgeContainerClient, as_token=reader)
    assert list(client.list_clusters(parent=PLACE))
    with pytest.raises(exceptions.PermissionDenied) as refused:
        client.generate_access_token(cluster=LOT)
    assert "'edgecontainer.clusters.generateAccessToken'" in refused.value.message
    assert refused.value.reason == "IAM_PERMISSION_DENIED"
    assert refused.value.metadata["resource"] == LOT


def test_another_project_is_refused_as_if_it_might_not_exist(gke: Any) -> None:
    with pytest.raises(exceptions.PermissionDenied, match="or it may not exist"):
        gke.list_clusters(parent="projects/other/locations/-")


def test_an_api_that_is_off_says_so(gke: Any, server: GoogleServer) -> None:
    server.account.disabled.add("container.googleapis.com")
    with pytest.raises(exceptions.PermissionDenied) as refused:
        gke.list_clusters(parent=PLACE)
    assert refused.value.reason == "SERVICE_DISABLED"


def test_too_many_calls_exhaust_the_quota(edge: Any, server: GoogleServer) -> None:
    server.account.throttled = 1
    with pytest.raises(exceptions.ResourceExhausted) as refused:
        edge.get_cluster(name=LOT)
    assert refused.value.reason == "RATE_LIMIT_EXCEEDED"
    assert edge.get_cluster(name=LOT).name == LOT


@pytest.mark.parametrize(
    "name", ["", "lot-1", "projects/parking/clusters/lot-1", f"{LOT}/nodePools/x"]
)
def test_a_name_that_is_none_is_an_invalid_argument(edge: Any, name: str) -> None:
    with pytest.raises(exceptions.InvalidArgument, match="name"):
        edge.get_cluster(name=name)


def test_a_location_that_is_none_is_an_invalid_argument(gke: Any) -> None:
    with pytest.raises(exceptions.InvalidArgument, match="Location 'nowhere'"):
        gke.list_clusters(parent=f"projects/{PROJECT}/locations/nowhere")


# The connect gateway


def through(server: GoogleServer, token: str, name: str) -> tuple[str, ssl.SSLContext]:
    """Return a cluster's URL through the gateway, and the trust for it."""
    made = credentials_for(server, token, name)
    found = yaml.safe_load(made.kubeconfig)["clusters"][0]["cluster"]
    authority = base64.b64decode(found["certificate-authority-data"]).decode()
    assert found["server"] == made.endpoint
    return found["server"], ssl.create_default_context(cadata=authority)


def test_the_gateway_leads_to_a_members_api(server: GoogleServer, token: str) -> None:
    name = f"projects/{PROJECT}/locations/global/memberships/k3s"
    url, context = through(server, token, name)
    answer = httpx.get(f"{url}/api/v1/namespaces", headers=bearer(token), verify=context)
    assert answer.json()["kind"] == "NamespaceList"


def test_the_gateway_takes_google_tokens_only(server: GoogleServer, token: str) -> None:
    name = f"projects/{PROJECT}/locations/global/memberships/k3s"
    url, context = through(server, token, name)
    answer = httpx.get(f"{url}/api/v1/pods", headers=bearer("nothing"), verify=context)
    assert (answer.status_code, answer.json()["error"]["status"]) == (401, "UNAUTHENTICATED")


def test_the_gateway_names_the_right_that_is_missing(server: GoogleServer, token: str) -> None:
    name = f"projects/{PROJECT}/locations/global/memberships/k3s"
    url, context = through(server, token, name)
    server.account.identity.denied.add("gkehub.gateway.post")
    answer = httpx.post(f"{url}/api/v1/namespaces", headers=bearer(token), verify=context, json={})
    assert answer.status_code == 403
    assert "'gkehub.gateway.post'" in answer.json()["error"]["message"]


def test_the_gateway_passes_a_watch_on_as_it_comes(server: GoogleServer, token: str) -> None:
    name = f"projects/{PROJECT}/locations/global/memberships/lot-1"
    url, context = through(server, token, name)
    path = f"{url}/api/v1/namespaces?watch=true&timeoutSeconds=60"
    with (
        httpx.Client(verify=context, headers=bearer(token)) as client,
        client.stream("GET", path) as answer,
    ):
        event = json.loads(next(answer.iter_lines()))
    assert event["type"] == "ADDED"


def test_the_gateway_says_when_a_cluster_is_lost(server: GoogleServer, token: str) -> None:
    name = f"projects/{PROJECT}/locations/global/memberships/lot-1"
    url, context = through(server, token, name)
    server.account.disconnect("lot-1")
    answer = httpx.get(f"{url}/api/v1/pods", headers=bearer(token), verify=context)
    assert (answer.status_code, answer.json()["error"]["status"]) == (503, "UNAVAILABLE")


def test_a_member_that_is_not_there_is_not_found(server: GoogleServer, token: str) -> None:
    with pytest.raises(exceptions.NotFound):
        credentials_for(server, token, f"projects/{PROJECT}/locations/global/memberships/none")
