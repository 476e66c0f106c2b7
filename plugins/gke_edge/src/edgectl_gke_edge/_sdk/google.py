"""Clusters that Google knows: ordinary GKE, Distributed Cloud, and other members of the fleet.

Listing says where a cluster is, its labels, and whether Google has a connection to it; a cluster
that is cut off is told as such without trying. Access is asked for when a cluster is first used:
to its own endpoint with the operator's token (GKE) or with one made for it (Distributed Cloud), or
through the connect gateway.
"""

from __future__ import annotations

import base64
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import google.auth.exceptions
import grpc
import yaml
from google.api_core import exceptions as google_errors
from google.auth.credentials import AnonymousCredentials
from google.cloud import container_v1, edgecontainer_v1, gkehub_v1
from google.cloud.gkeconnect import gateway_v1
from google.cloud.gkeconnect.gateway_v1.services.gateway_control.transports import (
    GatewayControlRestTransport,
)
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import Cluster as KubeCluster

from edgectl.api import NotFoundError, ProviderError
from edgectl_gke_edge._sdk.clusters import Access, Cluster
from edgectl_gke_edge._sdk.credentials import GoogleToken, auth_failure
from edgectl_gke_edge.config import GkeConfig
from edgectl_gke_edge.endpoints import address_of
from edgectl_gke_edge.errors import from_google

RENEW_S = 120.0
"""A cluster's own token is made anew so long before it ends."""
CALL_S = 60.0
_USABLE = {"RUNNING", "RECONCILING", "DEGRADED"}
_TOKEN = GoogleToken()


def google_clusters(config: GkeConfig) -> list[Cluster]:
    """Return the clusters of a Google Cloud project.

    Raises:
        AuthError: The credentials are not taken.
        UnreachableError: Google does not answer.
    """
    google = Google(config)
    found: list[Cluster] = []
    if "gke" in config.sources:
        found += google.ordinary()
    if "edge" in config.sources:
        found += google.edge()
    if "fleet" in config.sources:
        known = {cluster.name for cluster in found}
        found += [cluster for cluster in google.fleet() if cluster.name not in known]
    return found


class Google:
    """The Google APIs that clusters are found and reached by.

    Args:
        config: Which project, where, and what is preferred.
    """

    def __init__(self, config: GkeConfig) -> None:
        self._config = config
        self._project = config.project

    def ordinary(self) -> Iterator[Cluster]:
        """Yield the GKE clusters of the locations."""
        client = self._client("container", container_v1.ClusterManagerClient)
        for location in self._config.locations:
            parent = f"projects/{self._project}/locations/{location}"
            what = f"list the GKE clusters of '{parent}'"
            with _told(what):
                listed = client.list_clusters(parent=parent, timeout=CALL_S, metadata=self._meta())
            for one in listed.clusters:
                status = one.status.name
                yield Cluster(
                    one.name,
                    self._ordinary_access(one),
                    location=one.location,
                    labels=dict(one.resource_labels),
                    kind="gke",
                    lost="" if status in _USABLE else f"Google says {status}",
                )

    def edge(self) -> Iterator[Cluster]:
        """Yield the clusters of Distributed Cloud."""
        client = self._client("edgecontainer", edgecontainer_v1.EdgeContainerClient)
        for location in self._config.locations:
            parent = f"projects/{self._project}/locations/{location}"
            what = f"list the Distributed Cloud clusters of '{parent}'"
            with _told(what):
                listed = list(
                    client.list_clusters(parent=parent, timeout=CALL_S, metadata=self._meta())
                )
            for one in listed:
                yield Cluster(
                    one.name.rpartition("/")[2],
                    self._edge_access(client, one),
                    location=one.name.split("/")[3],
                    labels=dict(one.labels),
                    kind="edge",
                    lost=_lost(one),
                )

    def fleet(self) -> Iterator[Cluster]:
        """Yield the members of the fleet that are reached through the connect gateway."""
        client = self._client("gkehub", gkehub_v1.GkeHubClient)
        parent = f"projects/{self._project}/locations/-"
        with _told(f"list the fleet of '{self._project}'"):
            listed = list(
                client.list_memberships(parent=parent, timeout=CALL_S, metadata=self._meta())
            )
        for one in listed:
            state = one.state.code.name
            yield Cluster(
                one.name.rpartition("/")[2],
                lambda name=one.name: self._through_gateway(name),  # type: ignore[misc]  # bound now
                location=one.name.split("/")[3],
                labels=dict(one.labels),
                kind="fleet",
                lost="" if state == "READY" else f"Google says {state}",
            )

    def _ordinary_access(self, one: Any) -> Callable[[], Access]:
        if self._config.access == "gateway":
            membership = one.fleet.membership.removeprefix("//gkehub.googleapis.com/")
            return lambda: self._through_gateway(_member(one.name, membership))
        dns = one.control_plane_endpoints_config.dns_endpoint_config
        if dns.endpoint and dns.allow_external_traffic:
            server = KubeCluster(server=f"https://{dns.endpoint}")
        else:
            server = KubeCluster(
                server=f"https://{one.endpoint}",
                certificate_auth_data=one.master_auth.cluster_ca_certificate or None,
            )
        return lambda: Access(_single(one.name, server), _TOKEN)

    def _edge_access(self, client: Any, one: Any) -> Callable[[], Access]:
        if self._config.access == "gateway":
            return lambda: self._through_gateway(_member(one.name, one.fleet.membership))
        authority = one.cluster_ca_certificate
        if authority.startswith("-----BEGIN"):
            authority = base64.b64encode(authority.encode()).decode()
        server = KubeCluster(
            server=f"https://{one.endpoint}:{one.port or 443}",
            certificate_auth_data=authority or None,
        )
        return lambda: Access(_single(one.name, server), EdgeToken(client, one.name, self._meta))

    def _through_gateway(self, membership: str) -> Access:
        client = self._gateway()
        request = gateway_v1.GenerateCredentialsRequest(name=membership)
        with _told(f"get access to '{membership}' through the connect gateway"):
            answer = client.generate_credentials(
                request=request, timeout=CALL_S, metadata=self._meta()
            )
        read = KubeConfig.from_dict(yaml.safe_load(answer.kubeconfig))
        config = read.get()
        if config is None:
            raise ProviderError(f"the connect gateway gave no way to '{membership}'")
        # Its user is a plugin of gcloud's; the token is the same.
        return Access(config._replace(user=None), _TOKEN)

    def _client(self, api: str, kind: Any) -> Any:
        address = address_of(self._config, api)
        if address:
            transport = kind.get_transport_class("grpc")
            return kind(transport=transport(channel=grpc.insecure_channel(address)))
        with _told("ask Google"):
            return kind(credentials=_TOKEN.credentials())

    def _gateway(self) -> gateway_v1.GatewayControlClient:
        """Return the gateway's client, which speaks REST only."""
        address = address_of(self._config, "connectgateway")
        if not address:
            with _told("ask Google"):
                return gateway_v1.GatewayControlClient(credentials=_TOKEN.credentials())
        transport = GatewayControlRestTransport(
            host=address,
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]  # as above
            url_scheme="http",
        )
        return gateway_v1.GatewayControlClient(transport=transport)

    def _meta(self) -> Sequence[tuple[str, str]]:
        """Return what a call to an emulator carries: its channel takes no credentials."""
        if not address_of(self._config, "container"):
            return ()
        return (("authorization", f"Bearer {_TOKEN()}"),)


class EdgeToken:
    """A Distributed Cloud cluster's own access token.

    Args:
        client: The Edge Container client.
        name: The cluster's full name.
        metadata: What a call carries.
    """

    def __init__(
        self, client: Any, name: str, metadata: Callable[[], Sequence[tuple[str, str]]]
    ) -> None:
        self._client = client
        self._name = name
        self._metadata = metadata
        self._lock = threading.Lock()
        self._token = ""
        self._until = 0.0

    def __call__(self) -> str:
        """Return a token that holds for some minutes."""
        with self._lock:
            if time.time() >= self._until - RENEW_S:
                with _told(f"get an access token for '{self._name}'"):
                    made = self._client.generate_access_token(
                        cluster=self._name, timeout=CALL_S, metadata=self._metadata()
                    )
                self._token = made.access_token
                self._until = made.expire_time.timestamp()
            return self._token


def _lost(one: Any) -> str:
    """Return why a Distributed Cloud cluster cannot be reached, or ""."""
    status = one.status.name
    if status not in {*_USABLE, "STATUS_UNSPECIFIED"}:
        return f"Google says {status}"
    state = one.connection_state.state.name
    return "Google says DISCONNECTED" if state == "DISCONNECTED" else ""


def _member(name: str, membership: str) -> str:
    if not membership:
        raise NotFoundError(
            f"cluster '{name}' is not a member of a fleet, so no gateway leads to it",
            hint="register it with the fleet, or set `access: direct` in providers.gke",
        )
    return membership


def _single(name: str, server: KubeCluster) -> SingleConfig:
    config = KubeConfig.from_one(cluster=server, context_name=name.rpartition("/")[2]).get()
    if config is None:
        raise ProviderError(f"cluster '{name}' has no endpoint")
    return config


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except google_errors.GoogleAPICallError as exc:
        code = exc.grpc_status_code.name if exc.grpc_status_code is not None else str(exc.code)
        raise from_google(what, code, exc.message or "") from exc
    except google_errors.RetryError as exc:
        raise from_google(what, "UNAVAILABLE", str(exc)) from exc
    except google.auth.exceptions.GoogleAuthError as exc:
        raise auth_failure(what, exc) from exc
