"""GKE, Distributed Cloud and the fleet, as Google's own clients see them."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import container_v1, edgecontainer_v1, gkehub_v1
from google.longrunning import operations_pb2

from edgectl_gke_edge.emulator.google.server import GoogleServer
from edgectl_gke_edge.emulator.kube.server import KubeServer

PROJECT = "parking"
PLACE = f"projects/{PROJECT}/locations/us-central1"
LOT = f"{PLACE}/clusters/lot-1"


def an_edge_cluster() -> edgecontainer_v1.Cluster:
    cluster: Any = edgecontainer_v1.Cluster(labels={"city": "va"})
    cluster.fleet.project = f"projects/{PROJECT}"
    cluster.networking.cluster_ipv4_cidr_blocks = ["10.0.0.0/17"]
    cluster.networking.services_ipv4_cidr_blocks = ["10.96.0.0/24"]
    cluster.authorization.admin_users.username = "me@example.com"
    found: edgecontainer_v1.Cluster = cluster
    return found


# GKE


def test_gke_clusters_are_listed_by_location_and_over_all(gke: Any) -> None:
    everywhere = gke.list_clusters(parent=f"projects/{PROJECT}/locations/-").clusters
    elsewhere = gke.list_clusters(parent=f"projects/{PROJECT}/locations/europe-west1").clusters
    assert [c.name for c in everywhere] == ["office"]
    assert not elsewhere


def test_a_gke_cluster_tells_how_to_reach_it(gke: Any, cluster: KubeServer) -> None:
    found = gke.get_cluster(name=f"{PLACE}/clusters/office")
    assert found.endpoint == cluster.url.removeprefix("https://")
    assert base64.b64decode(found.master_auth.cluster_ca_certificate).decode() == cluster.ca
    assert found.fleet.membership.endswith("/memberships/office")


def test_the_old_form_of_a_request_is_understood_too(gke: Any) -> None:
    found = gke.get_cluster(project_id=PROJECT, zone="us-central1", cluster_id="office")
    assert found.current_node_count == 3


def test_a_gke_cluster_that_is_not_there_is_not_found(gke: Any) -> None:
    with pytest.raises(exceptions.NotFound, match=r"Not found: projects/parking/.*/clusters/none"):
        gke.get_cluster(name=f"{PLACE}/clusters/none")


def test_a_new_gke_cluster_runs_once_its_operation_is_done(gke: Any, server: GoogleServer) -> None:
    server.account.operations.takes_s = 3600
    wanted = container_v1.Cluster(name="new", initial_node_count=1)
    operation = gke.create_cluster(parent=PLACE, cluster=wanted)
    assert gke.get_cluster(name=f"{PLACE}/clusters/new").status.name == "PROVISIONING"
    later = server.account.operations.clock() + 3601
    server.account.operations.clock = lambda: later
    done = gke.get_operation(name=f"{PLACE}/operations/{operation.name}")
    assert (operation.status.name, done.status.name) == ("RUNNING", "DONE")
    assert gke.get_cluster(name=f"{PLACE}/clusters/new").status.name == "RUNNING"


def test_a_gke_cluster_needs_nodes_and_a_proper_name(gke: Any) -> None:
    for wanted in ({"name": "New", "initial_node_count": 1}, {"name": "new"}):
        with pytest.raises(exceptions.InvalidArgument):
            gke.create_cluster(parent=PLACE, cluster=container_v1.Cluster(**wanted))


# Distributed Cloud


def test_edge_clusters_are_listed_with_a_filter_by_label(edge: Any) -> None:
    parent = f"projects/{PROJECT}/locations/-"
    everywhere = [c.name for c in edge.list_clusters(parent=parent)]
    chosen = edge.list_clusters(request={"parent": parent, "filter": "labels.city=md"})
    assert len(everywhere) == 2
    assert [c.name.rpartition("/")[2] for c in chosen] == ["lot-2"]


def test_pages_follow_each_other_and_a_token_is_good_for_its_own_list_only(edge: Any) -> None:
    parent = f"projects/{PROJECT}/locations/-"
    first = edge.list_clusters(request={"parent": parent, "page_size": 1})
    token = first.next_page_token
    assert [len(page.clusters) for page in first.pages] == [1, 1]
    with pytest.raises(exceptions.InvalidArgument, match="page_token"):
        list(edge.list_clusters(request={"parent": PLACE, "page_token": token}))
    with pytest.raises(exceptions.InvalidArgument, match="page_token"):
        list(edge.list_clusters(request={"parent": parent, "page_token": "x"}))


def test_an_edge_cluster_is_in_the_fleet_by_itself(edge: Any, hub: Any) -> None:
    found = edge.get_cluster(name=LOT)
    membership = hub.get_membership(name=found.fleet.membership)
    assert found.connection_state.state.name == "CONNECTED"
    assert membership.endpoint.gke_cluster.resource_link.endswith(LOT)


def test_a_cluster_that_google_lost_says_so(edge: Any, server: GoogleServer) -> None:
    server.account.disconnect("lot-1")
    assert edge.get_cluster(name=LOT).connection_state.state.name == "DISCONNECTED"
    server.account.disconnect("lot-1", connected=True)
    assert edge.get_cluster(name=LOT).connection_state.state.name == "CONNECTED"


def test_creating_an_edge_cluster_is_a_long_running_operation(edge: Any) -> None:
    operation = edge.create_cluster(parent=PLACE, cluster=an_edge_cluster(), cluster_id="lot-3")
    made = operation.result(timeout=30)
    assert made.status.name == "RUNNING"
    assert operation.metadata.verb == "create"
    assert operation.metadata.target == f"{PLACE}/clusters/lot-3"


def test_the_same_request_id_does_not_create_twice(edge: Any) -> None:
    request = {"parent": PLACE, "cluster": an_edge_cluster(), "cluster_id": "lot-3"}
    first = edge.create_cluster(request={**request, "request_id": "one"})
    again = edge.create_cluster(request={**request, "request_id": "one"})
    assert again.operation.name == first.operation.name
    with pytest.raises(exceptions.AlreadyExists):
        edge.create_cluster(request={**request, "request_id": "two"})
    with pytest.raises(exceptions.InvalidArgument, match="request_id"):
        edge.create_cluster(request={**request, "request_id": "x" * 37})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fleet", edgecontainer_v1.Fleet()),
        ("authorization", edgecontainer_v1.Authorization()),
        ("networking", edgecontainer_v1.ClusterNetworking()),
    ],
)
def test_an_edge_cluster_without_a_required_field_is_refused(
    edge: Any, field: str, value: Any
) -> None:
    cluster = an_edge_cluster()
    setattr(cluster, field, value)
    with pytest.raises(exceptions.InvalidArgument, match=f"cluster.{field}"):
        edge.create_cluster(parent=PLACE, cluster=cluster, cluster_id="lot-3")


def test_what_cannot_be_changed_is_not(edge: Any) -> None:
    cluster = edge.get_cluster(name=LOT)
    with pytest.raises(exceptions.InvalidArgument, match="'networking' cannot be changed"):
        edge.update_cluster(cluster=cluster, update_mask={"paths": ["networking"]})
    cluster.labels["city"] = "nyc"
    changed = edge.update_cluster(cluster=cluster, update_mask={"paths": ["labels"]})
    assert changed.result(timeout=30).labels["city"] == "nyc"


def test_a_cluster_with_node_pools_is_not_deleted(edge: Any) -> None:
    with pytest.raises(exceptions.FailedPrecondition, match="node pools"):
        edge.delete_cluster(name=LOT)
    edge.delete_node_pool(name=f"{LOT}/nodePools/pool-1").result(timeout=30)
    edge.delete_cluster(name=LOT).result(timeout=30)
    with pytest.raises(exceptions.NotFound):
        edge.get_cluster(name=LOT)


def test_machines_tell_which_node_they_are(edge: Any) -> None:
    machines = list(edge.list_machines(parent=PLACE))
    pools = list(edge.list_node_pools(parent=LOT))
    assert [m.hosted_node.rpartition("/")[2] for m in machines] == ["m-1", "m-2"]
    assert pools[0].node_count == 2


def test_a_node_pool_takes_free_machines_or_fails(edge: Any) -> None:
    zone = next(iter(edge.list_node_pools(parent=LOT))).node_location
    pool = edgecontainer_v1.NodePool(node_location=zone, node_count=1)
    operation = edge.create_node_pool(parent=LOT, node_pool=pool, node_pool_id="more")
    with pytest.raises(exceptions.ResourceExhausted, match="free machines"):
        operation.result(timeout=30)


def test_an_operation_that_fails_tells_why(edge: Any, server: GoogleServer) -> None:
    server.account.operations.failing.append("no power at the site")
    operation = edge.create_cluster(parent=PLACE, cluster=an_edge_cluster(), cluster_id="lot-3")
    with pytest.raises(exceptions.GoogleAPICallError, match="no power at the site"):
        operation.result(timeout=30)


def test_an_operation_can_be_cancelled(edge: Any, server: GoogleServer) -> None:
    server.account.operations.takes_s = 3600
    operation = edge.create_cluster(parent=PLACE, cluster=an_edge_cluster(), cluster_id="lot-3")
    name = operation.operation.name
    edge.cancel_operation(operations_pb2.CancelOperationRequest(name=name))
    found = edge.get_operation(operations_pb2.GetOperationRequest(name=name))
    assert (found.done, found.error.code) == (True, 1)


def test_locations_tell_their_zones(edge: Any) -> None:
    from google.cloud.location import locations_pb2  # noqa: PLC0415

    answer = edge.list_locations(locations_pb2.ListLocationsRequest(name=f"projects/{PROJECT}"))
    metadata = edgecontainer_v1.LocationMetadata.deserialize(answer.locations[1].metadata.value)
    assert [p.location_id for p in answer.locations] == ["europe-west1", "us-central1"]
    assert list(metadata.available_zones) == ["us-central1-edge-lot-1"]


# The fleet


def test_the_fleet_holds_clusters_of_all_kinds(hub: Any) -> None:
    found = {
        m.name.rpartition("/")[2]: m
        for m in hub.list_memberships(parent=f"projects/{PROJECT}/locations/-")
    }
    assert sorted(found) == ["k3s", "lot-1", "lot-2", "office"]
    assert all(m.state.code.name == "READY" for m in found.values())
    assert not found["k3s"].endpoint.gke_cluster.resource_link


def test_a_membership_is_created_and_deleted(hub: Any) -> None:
    parent = f"projects/{PROJECT}/locations/global"
    made = hub.create_membership(
        parent=parent, resource=gkehub_v1.Membership(), membership_id="new"
    ).result(timeout=30)
    assert made.state.code.name == "READY"
    hub.delete_membership(name=made.name).result(timeout=30)
    with pytest.raises(exceptions.NotFound):
        hub.get_membership(name=made.name)
