"""Kubeconfig files: where a cluster is, and who one is there."""

from __future__ import annotations

import base64

import yaml

from edgectl_gke_edge.emulator.kube.certificates import Pair


def kubeconfig_text(name: str, url: str, ca: str, token: str, namespace: str = "default") -> str:
    """Write a kubeconfig file with one context, for a bearer token."""
    return _document(name, url, ca, {"token": token}, namespace)


def certified_kubeconfig_text(
    name: str, url: str, ca: str, pair: Pair, namespace: str = "default"
) -> str:
    """Write a kubeconfig file with one context, for a client certificate."""
    user = {
        "client-certificate-data": base64.b64encode(pair.certificate.encode()).decode(),
        "client-key-data": base64.b64encode(pair.key.encode()).decode(),
    }
    return _document(name, url, ca, user, namespace)


def _document(name: str, url: str, ca: str, user: dict[str, str], namespace: str) -> str:
    cluster = {
        "server": url,
        "certificate-authority-data": base64.b64encode(ca.encode()).decode(),
    }
    context = {"cluster": name, "user": name, "namespace": namespace}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": context}],
    }
    return yaml.safe_dump(document, sort_keys=False)
