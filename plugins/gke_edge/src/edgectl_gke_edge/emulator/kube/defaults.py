"""What the server fills in where a client says nothing.

Clients read these values back, and an update's manager comes to own them. The values are those of
Kubernetes' ``defaults.go`` for each group.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from edgectl_gke_edge.emulator.kube.errors import Json
from edgectl_gke_edge.emulator.kube.schema import ListOf, Node, Scalar, Struct

_ZERO = {"integer": 0, "number": 0, "boolean": False, "string": ""}


def with_defaults(kind: str, obj: Json) -> Json:
    """Return a copy of an object with its kind's defaults."""
    result = copy.deepcopy(obj)
    fill = _BY_KIND.get(kind)
    if fill is not None:
        fill(result)
    return result


_TEMPLATE: Json = {"metadata": {}, "spec": {"containers": None}}
_EMPTY: dict[str, Json] = {
    "CronJob": {"spec": {"jobTemplate": {"metadata": {}, "spec": {"template": _TEMPLATE}}}},
    "DaemonSet": {"spec": {"template": _TEMPLATE, "updateStrategy": {}}},
    "Deployment": {"spec": {"template": _TEMPLATE, "strategy": {}}},
    "Job": {"spec": {"template": _TEMPLATE}},
    "Pod": {"spec": {"containers": None}},
    "ReplicaSet": {"spec": {"template": _TEMPLATE}},
    "StatefulSet": {"spec": {"template": _TEMPLATE, "updateStrategy": {}}},
    "RoleBinding": {"roleRef": {}},
    "ClusterRoleBinding": {"roleRef": {}},
    "EndpointSlice": {"endpoints": None, "ports": None, "addressType": ""},
    "Role": {"rules": None},
    "Event": {
        "involvedObject": {},
        "reportingComponent": "",
        "reportingInstance": "",
        "source": {},
        "firstTimestamp": None,
        "lastTimestamp": None,
        "eventTime": None,
    },
    "ClusterRole": {"rules": None},
}


def empty_object(kind: str) -> Json:
    """Return what an object is before it is created.

    A new object's ownership is what it has beside this: structures that Go always writes are
    there already, so their creator owns their fields, not the structures.
    """
    return {"metadata": {}, "spec": {}, "status": {}, **_EMPTY.get(kind, {})}


def with_zeros(value: Any, node: Node) -> Any:
    """Fill a status with the zeros that the server always writes (ready counts and the like)."""
    if isinstance(node, ListOf) and isinstance(value, list):
        return [with_zeros(item, node.item) for item in value]
    if not isinstance(node, Struct) or not isinstance(value, dict):
        return value
    result = {k: with_zeros(v, node.fields.get(k, Scalar("any"))) for k, v in value.items()}
    for name in node.required - result.keys():
        field = node.fields[name]
        if isinstance(field, Scalar) and field.type in _ZERO:
            result[name] = _ZERO[field.type]
    if node.name == "ContainerStatus":
        return {"state": {}, "lastState": {}, **result}
    return result


def _pod_template(obj: Json) -> None:
    template = obj.setdefault("spec", {}).setdefault("template", {})
    template.setdefault("metadata", {})
    pod_spec(template.setdefault("spec", {}))


def pod_spec(spec: Json) -> None:
    """Fill in a pod's specification, in place."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    if spec.get("serviceAccountName"):
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    elif spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    for container in [*spec.get("initContainers", []), *spec.get("containers", [])]:
        _container(container)
    for volume in spec.get("volumes", []):
        _volume(volume)


def pull_policy(image: str) -> str:
    """``Always`` for images that may move: the tag ``latest``, or none."""
    if "@" in image:
        return "IfNotPresent"
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    return "Always" if tag in {"", "latest"} else "IfNotPresent"


def _container(container: Json) -> None:
    container.setdefault("imagePullPolicy", pull_policy(container.get("image", "")))
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("resources", {})
    for port in container.get("ports", []):
        port.setdefault("protocol", "TCP")
    for variable in container.get("env", []):
        reference = variable.get("valueFrom", {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            _probe(container[name])
    for hook in container.get("lifecycle", {}).values():
        if isinstance(hook, dict) and "httpGet" in hook:
            _http_get(hook["httpGet"])


def _probe(probe: Json) -> None:
    for name, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        probe.setdefault(name, value)
    if "httpGet" in probe:
        _http_get(probe["httpGet"])
    if "grpc" in probe:
        probe["grpc"].setdefault("service", "")


def _http_get(action: Json) -> None:
    action.setdefault("path", "/")
    action.setdefault("scheme", "HTTP")


def _volume(volume: Json) -> None:
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
    for source in ("configMap", "secret", "projected", "downwardAPI"):
        if source in volume:
            volume[source].setdefault("defaultMode", 0o644)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")
    if "image" in volume:
        reference = volume["image"].get("reference", "")
        volume["image"].setdefault("pullPolicy", pull_policy(reference))
    for part in volume.get("projected", {}).get("sources", []):
        if "serviceAccountToken" in part:
            part["serviceAccountToken"].setdefault("expirationSeconds", 3600)
        for item in part.get("downwardAPI", {}).get("items", []):
            item.get("fieldRef", {}).setdefault("apiVersion", "v1")


def _pod(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for container in [*spec.get("initContainers", []), *spec.get("containers", [])]:
        resources = container["resources"]
        for name, limit in resources.get("limits", {}).items():
            resources.setdefault("requests", {}).setdefault(name, limit)


def _deployment(obj: Json) -> None:
    _pod_template(obj)
    spec = obj["spec"]
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")


def _daemon_set(obj: Json) -> None:
    _pod_template(obj)
    spec = obj["spec"]
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)


def _replica_set(obj: Json) -> None:
    _pod_template(obj)
    obj["spec"].setdefault("replicas", 1)


def _stateful_set(obj: Json) -> None:
    _replica_set(obj)
    spec = obj["spec"]
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)


def _job(obj: Json) -> None:
    _pod_template(obj)
    spec = obj["spec"]
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    policy = "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed"
    spec.setdefault("podReplacementPolicy", policy)


def _cron_job(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    _pod_template(spec.setdefault("jobTemplate", {}))


def _service(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] in {"NodePort", "LoadBalancer"}:
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    for port in spec.get("ports", []):
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))


def _endpoint_slice(obj: Json) -> None:
    for port in obj.get("ports", []):
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _endpoints(obj: Json) -> None:
    for subset in obj.get("subsets", []):
        for port in subset.get("ports", []):
            port.setdefault("protocol", "TCP")


def _network_policy(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    rules = [*spec.get("ingress", []), *spec.get("egress", [])]
    for port in (port for rule in rules for port in rule.get("ports", [])):
        port.setdefault("protocol", "TCP")
    types = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    spec.setdefault("policyTypes", types)


def _event(obj: Json) -> None:
    for name, value in (("reportingComponent", ""), ("reportingInstance", ""), ("source", {})):
        obj.setdefault(name, value)


def _secret(obj: Json) -> None:
    obj.setdefault("type", "Opaque")


def _binding(obj: Json) -> None:
    obj.setdefault("roleRef", {}).setdefault("apiGroup", "rbac.authorization.k8s.io")
    for subject in obj.get("subjects", []):
        if subject.get("kind") in {"User", "Group"}:
            subject.setdefault("apiGroup", "rbac.authorization.k8s.io")


def _namespace(obj: Json) -> None:
    labels = obj.setdefault("metadata", {}).setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = obj["metadata"].get("name", "")


def _node(obj: Json) -> None:
    obj.setdefault("spec", {})
    status = obj.setdefault("status", {})
    if "capacity" in status:
        status.setdefault("allocatable", dict(status["capacity"]))
    endpoints = status.setdefault("daemonEndpoints", {})
    endpoints.setdefault("kubeletEndpoint", {}).setdefault("Port", 0)
    info = status.setdefault("nodeInfo", {})
    for name in _NODE_INFO:
        info.setdefault(name, "")


_NODE_INFO = (
    "architecture",
    "bootID",
    "containerRuntimeVersion",
    "kernelVersion",
    "kubeProxyVersion",
    "kubeletVersion",
    "machineID",
    "operatingSystem",
    "osImage",
    "systemUUID",
)


def _claim(obj: Json) -> None:
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


_BY_KIND: dict[str, Callable[[Json], None]] = {
    "ClusterRoleBinding": _binding,
    "CronJob": _cron_job,
    "DaemonSet": _daemon_set,
    "Deployment": _deployment,
    "EndpointSlice": _endpoint_slice,
    "Endpoints": _endpoints,
    "Event": _event,
    "Job": _job,
    "Namespace": _namespace,
    "NetworkPolicy": _network_policy,
    "PersistentVolumeClaim": _claim,
    "Node": _node,
    "Pod": _pod,
    "ReplicaSet": _replica_set,
    "RoleBinding": _binding,
    "Secret": _secret,
    "Service": _service,
    "StatefulSet": _stateful_set,
}
