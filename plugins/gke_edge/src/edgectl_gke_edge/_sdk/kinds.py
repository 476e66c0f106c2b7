"""The kinds that we work with, as lightkube's generic resources: plain documents, no models.

Models would be made of a type graph that msgspec builds on first use, and two threads that first
use it at the same moment crash the interpreter (msgspec 0.22); documents need none. The two small
models that lightkube itself decodes, errors and metadata, are built here, once, while importing.
"""

from __future__ import annotations

import msgspec
from lightkube.generic_resource import (
    GenericGlobalResource,
    GenericNamespacedResource,
    create_api_info,
)
from lightkube.models import meta_v1

Kind = type[GenericGlobalResource] | type[GenericNamespacedResource]

for _model in (meta_v1.Status, meta_v1.ObjectMeta):
    msgspec.json.decode(b"{}", type=_model)


class Namespace(GenericGlobalResource):
    """A namespace."""

    _api_info = create_api_info("", "v1", "Namespace", "namespaces")


class Node(GenericGlobalResource):
    """A node."""

    _api_info = create_api_info("", "v1", "Node", "nodes")


class Pod(GenericNamespacedResource):
    """A pod."""

    _api_info = create_api_info("", "v1", "Pod", "pods")


class ConfigMap(GenericNamespacedResource):
    """A ConfigMap."""

    _api_info = create_api_info("", "v1", "ConfigMap", "configmaps")


class Service(GenericNamespacedResource):
    """A service."""

    _api_info = create_api_info("", "v1", "Service", "services")


class ServiceAccount(GenericNamespacedResource):
    """A service account."""

    _api_info = create_api_info("", "v1", "ServiceAccount", "serviceaccounts")


class NetworkPolicy(GenericNamespacedResource):
    """A network policy."""

    _api_info = create_api_info("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")


class PodDisruptionBudget(GenericNamespacedResource):
    """A disruption budget."""

    _api_info = create_api_info("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")


class DaemonSet(GenericNamespacedResource):
    """A DaemonSet."""

    _api_info = create_api_info("apps", "v1", "DaemonSet", "daemonsets")


class Deployment(GenericNamespacedResource):
    """A Deployment."""

    _api_info = create_api_info("apps", "v1", "Deployment", "deployments")


class Job(GenericNamespacedResource):
    """A Job."""

    _api_info = create_api_info("batch", "v1", "Job", "jobs")


class SelfSubjectAccessReview(GenericGlobalResource):
    """The question whether we may do something."""

    _api_info = create_api_info(
        "authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews"
    )


KINDS: tuple[Kind, ...] = (
    Namespace,
    Node,
    Pod,
    ConfigMap,
    Service,
    ServiceAccount,
    NetworkPolicy,
    PodDisruptionBudget,
    DaemonSet,
    Deployment,
    Job,
    SelfSubjectAccessReview,
)
BY_NAME: dict[str, Kind] = {kind.__name__: kind for kind in KINDS}
