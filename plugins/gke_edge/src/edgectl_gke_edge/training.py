"""A training as a Kubernetes Job: what goes along, and the documents that it is made of; pure.

The job is named by what goes into it, so a command that was cut off finds its job again. Sources
and inputs travel through the registry by digest; what the job leaves comes back the same way.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import tarfile
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import msgspec

from edgectl.api import ProjectError, Record, TrainRequest, canonical_json, sha256_digest
from edgectl_gke_edge import names
from edgectl_gke_edge.config import GkeConfig
from edgectl_gke_edge.pod import LOGIN_DIR, USER
from edgectl_gke_edge.repository import repository

Document = dict[str, Any]
CONTAINER = "train"
JOB_DIR = "/etc/edgectl-training"
WORK_DIR = "/workspace"
SOURCE_KIND = "application/vnd.edgectl.source.v1+json"
SOURCE_FILE = "source.tar.gz"
DIGEST_LABEL = f"{names.PREFIX}/training"
_NOT_NAME = re.compile(r"[^a-z0-9]+")
_LOOPBACK = re.compile(r"(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?$")


class Input(Record, frozen=True, kw_only=True):
    """A training input on its way into the job.

    Attributes:
        variable: Where the command finds its path.
        digest: Of the file, or of the folder's archive.
        file: The file's name, or "" for a folder.
        path: Where it lies in the project, or "" outside.
    """

    name: str
    variable: str
    digest: str
    file: str = ""
    path: str = ""


class Order(Record, frozen=True, kw_only=True):
    """A training that is ready to go.

    Attributes:
        digest: Of everything that goes into it.
        source: Digest of the sources' archive.
    """

    request: TrainRequest
    digest: str
    source: str
    inputs: tuple[Input, ...] = ()

    @property
    def mark(self) -> str:
        """What jobs of this very training are labelled with."""
        return self.digest.removeprefix("sha256:")[:16]


def make_order(
    config: GkeConfig, request: TrainRequest, source: str, inputs: tuple[Input, ...]
) -> Order:
    """Return a training with the digest of everything that goes into it.

    Raises:
        ProjectError: No image is set, or an output lies outside the project.
    """
    if not config.training.image:
        raise ProjectError(
            "providers.gke.training.image is not set: a job trains in a container image",
            hint="name an image with Python and what the training imports; docs/providers/gke.md",
        )
    for output in (request.model, request.metrics):
        if output is not None and not output.is_relative_to(request.project_dir):
            raise ProjectError(f"the training output '{output}' is outside the project")
    content = canonical_json(
        {
            "source": source,
            "inputs": msgspec.to_builtins(inputs),
            "command": request.command,
            "training": msgspec.to_builtins(config.training),
        }
    )
    return Order(request=request, digest=sha256_digest(content), source=source, inputs=inputs)


def job_name(order: Order, moment: str) -> str:
    """Return a job's name: at most 63 characters with what makes it unique."""
    name = _NOT_NAME.sub("-", order.request.name.lower()).strip("-")[:20].strip("-") or "model"
    return f"train-{name}-{order.mark[:8]}-{moment}"


def training_repository(config: GkeConfig, application: str) -> str:
    """Return where sources, inputs and results of trainings are."""
    return f"{repository(config, application)}/training"


def documents(config: GkeConfig, order: Order, name: str) -> list[Document]:
    """Return the Job's ConfigMap and the Job."""
    namespace = names.namespace_of(order.request.name, config.namespace)
    labels = names.own_labels(order.request.name, names.TRAIN_ROLE) | {DIGEST_LABEL: order.mark}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    data = {"start.py": start_script(), "job.json": job_json(config, order, name)}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    training = config.training
    spec = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": training.timeout_s,
        "ttlSecondsAfterFinished": training.ttl_s,
        "template": {"metadata": {"labels": labels}, "spec": pod_spec(config, name)},
    }
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
    return [config_map, job]


def pod_spec(config: GkeConfig, name: str) -> Document:
    """Return the pod of a training."""
    training, secrets = config.training, config.runtime.pull_secrets
    requests: Document = {"cpu": training.cpu, "memory": training.memory}
    limits: Document = {"memory": training.memory}
    if training.gpus:
        resource = config.runtime.gpu_resource or "nvidia.com/gpu"
        requests[resource] = limits[resource] = str(training.gpus)
    mounts = [
        {"name": "job", "mountPath": JOB_DIR, "readOnly": True},
        {"name": "work", "mountPath": WORK_DIR},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod's own
    ]
    volumes: list[Document] = [
        {"name": "job", "configMap": {"name": name}},
        {"name": "work", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if secrets:
        mounts.append({"name": "login", "mountPath": LOGIN_DIR, "readOnly": True})
        items = [{"key": ".dockerconfigjson", "path": "config.json"}]
        volumes.append({"name": "login", "secret": {"secretName": secrets[0], "items": items}})
    environment = {"HOME": WORK_DIR, **training.environment}
    container = {
        "name": CONTAINER,
        "image": training.image,
        "command": ["python3", f"{JOB_DIR}/start.py"],
        "args": [f"{JOB_DIR}/job.json", f"{WORK_DIR}/project"],
        "env": [{"name": key, "value": value} for key, value in sorted(environment.items())],
        "resources": {"requests": requests, "limits": limits},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }
    spec: Document = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }
    if training.node_selector:
        spec["nodeSelector"] = dict(training.node_selector)
    if secrets:
        spec["imagePullSecrets"] = [{"name": secret} for secret in secrets]
    if config.runtime.tolerations:
        spec["tolerations"] = [dict(one) for one in config.runtime.tolerations]
    return spec


def job_json(config: GkeConfig, order: Order, name: str) -> str:
    """Return what the program in the container has to know."""
    request = order.request
    place = training_repository(config, request.name)
    host, _, path = place.partition("/")
    scheme = "http" if _LOOPBACK.match(host) else "https"
    job = {
        "registry": f"{scheme}://{host}",
        "repository": path,
        "login": f"{LOGIN_DIR}/config.json" if config.runtime.pull_secrets else "",
        "tag": name,
        "source": order.source,
        "command": request.command,
        "inputs": {
            entry.variable: {
                "name": entry.name,
                "digest": entry.digest,
                "file": entry.file,
                "path": entry.path,
            }
            for entry in order.inputs
        },
        "model": request.model.relative_to(request.project_dir).as_posix(),
        "metrics": request.metrics.relative_to(request.project_dir).as_posix()
        if request.metrics
        else "",
    }
    return canonical_json(job).decode()


def start_script() -> str:
    """Return the program that the container runs."""
    return resources.files("edgectl_gke_edge.container").joinpath("start.py").read_text("utf-8")


def pack(files: dict[str, Path], out: BinaryIO) -> None:
    """Write an archive of the files; the same files give the same bytes."""
    with (
        gzip.GzipFile(fileobj=out, mode="wb", mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, path in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = path.stat().st_size
            member.mode = 0o755 if os.access(path, os.X_OK) else 0o644
            with path.open("rb") as content:
                archive.addfile(member, content)


def pack_bytes(files: dict[str, Path]) -> bytes:
    """Return a small archive of the files."""
    data = io.BytesIO()
    pack(files, data)
    return data.getvalue()


def may_come_back(name: str, order: Order, sources: set[str]) -> bool:
    """Whether a file that a job left may be written into the project.

    It has to be the model, the metrics, or lie beside the model; nothing of the project's own is
    overwritten, and no path leads elsewhere.
    """
    request = order.request
    path = PurePosixPath(name)
    if path.is_absolute() or any(part.startswith(".") for part in path.parts) or "\\" in name:
        return False
    model = request.model.relative_to(request.project_dir)
    wanted = {model.as_posix()}
    if request.metrics is not None:
        wanted.add(request.metrics.relative_to(request.project_dir).as_posix())
    beside = path.is_relative_to(model.parent.as_posix())
    return name in wanted or (beside and name not in sources)


def host_of(registry: str) -> str:
    """Return the host of a registry's path."""
    return urlsplit(f"//{registry}").netloc
