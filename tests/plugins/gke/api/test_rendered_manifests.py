"""What the plugin renders passes strict validation, without a warning, on every server.

The manifests are the golden files of the plugin's tests, sent as ``edgectl`` sends them: applied
with strict validation of their fields. A warning would tell of something deprecated or of a pod
that the namespace's pod security refuses.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from edgectl_gke_edge.emulator.kube.kinds import BY_KIND
from edgectl_gke_edge.emulator.kube.server import KubeServer

GOLDEN = Path(__file__).parent.parent / "plugin" / "golden"
SETS = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
DEFAULT_NAMESPACE = "edgectl-parking-plates"


def manifests(name: str) -> Iterator[dict[str, Any]]:
    for file in sorted((GOLDEN / name).glob("[0-9]*.yaml")):
        yield from yaml.safe_load_all(file.read_text())


def path_of(manifest: dict[str, Any]) -> str:
    kind = BY_KIND[manifest["apiVersion"], manifest["kind"]]
    root = f"/apis/{kind.api_version}" if kind.group else "/api/v1"
    metadata = manifest["metadata"]
    place = f"/namespaces/{metadata['namespace']}" if kind.namespaced else ""
    return f"{root}{place}/{kind.plural}/{metadata['name']}"


@pytest.fixture
def api(server: Any) -> Iterator[httpx.Client]:
    context = ssl.create_default_context(cadata=server.ca)
    headers = {
        "Authorization": f"Bearer {server.token}",
        "Content-Type": "application/apply-patch+yaml",
    }
    with httpx.Client(base_url=server.url, verify=context, headers=headers, timeout=30) as client:
        yield client


def apply(api: httpx.Client, manifest: dict[str, Any]) -> httpx.Response:
    params = {"fieldManager": "edgectl", "fieldValidation": "Strict", "force": "true"}
    return api.patch(path_of(manifest), params=params, content=yaml.safe_dump(manifest))


@pytest.mark.parametrize("name", SETS)
def test_rendered_manifests_are_taken_without_a_warning(api: httpx.Client, name: str) -> None:
    namespaces = {m["metadata"].get("namespace") for m in manifests(name)} - {None}
    for namespace in namespaces:  # a set without one of its own expects it to be there
        metadata = {"name": namespace}
        apply(api, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    for manifest in manifests(name):
        answer = apply(api, manifest)
        told = f"{manifest['kind']}: {answer.text}"
        assert answer.status_code in {200, 201}, told
        assert "warning" not in answer.headers, answer.headers.get("warning")


@pytest.mark.parametrize("name", SETS)
def test_rendered_pods_are_let_in_by_their_namespaces_pod_security(
    own: KubeServer, name: str
) -> None:
    """A workload is only warned about; its pod itself would be refused."""
    found = [m for m in manifests(name) if m["kind"] in {"DaemonSet", "Deployment"}]
    context = ssl.create_default_context(cadata=own.ca)
    headers = {"Authorization": f"Bearer {own.token}"}
    with httpx.Client(base_url=own.url, verify=context, headers=headers) as client:
        level = next(
            (
                m["metadata"]["labels"].get("pod-security.kubernetes.io/enforce", "privileged")
                for m in manifests(name)
                if m["kind"] == "Namespace"
            ),
            "privileged",
        )
        labels = {"pod-security.kubernetes.io/enforce": level}
        metadata = {"generateName": "pods-", "labels": labels}
        made = client.post("/api/v1/namespaces", json={"metadata": metadata}).json()
        namespace = made["metadata"]["name"]
        for manifest in found:
            account = manifest["spec"]["template"]["spec"]["serviceAccountName"]
            path = f"/api/v1/namespaces/{namespace}"
            client.post(f"{path}/serviceaccounts", json={"metadata": {"name": account}})
            pod = {**manifest["spec"]["template"]}
            if "priorityClassName" in pod["spec"]:
                priority = {"metadata": {"name": pod["spec"]["priorityClassName"]}, "value": 1}
                client.post("/apis/scheduling.k8s.io/v1/priorityclasses", json=priority)
            pod["metadata"] = {**pod["metadata"], "generateName": "p-"}
            answer = client.post(f"{path}/pods", json=pod)
            assert answer.status_code == 201, answer.text
