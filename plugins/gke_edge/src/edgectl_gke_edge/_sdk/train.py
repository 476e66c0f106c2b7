"""``train``: the project's own training in a Kubernetes Job, and its model brought back here.

What goes in has a digest, and jobs are labelled with it: a command that was cut off finds its job
running and goes on with it. Before a job is made, the cluster is asked whether its pod would be
let in, because a Job whose pods are refused would only wait.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgectl.api import (
    NotFoundError,
    ProviderError,
    TrainedModel,
    TrainError,
    TrainRequest,
    UnreachableError,
    fetch_artifact_file,
    git_revision,
    input_digest,
    push_artifact,
    read_artifact,
    read_metrics,
    training_environment,
    training_sources,
)
from edgectl_gke_edge import training
from edgectl_gke_edge._sdk import kinds
from edgectl_gke_edge._sdk.account import Account
from edgectl_gke_edge._sdk.kube import Kube
from edgectl_gke_edge.render import namespace, trial_pod
from edgectl_gke_edge.states import IMAGE_WORDS

Progress = Callable[[str], None]
Document = dict[str, Any]
LOOK_S = 0.5
PULL_S = 120.0
LOST_S = 300.0
TAIL = 15


def train(account: Account, request: TrainRequest, progress: Progress) -> TrainedModel:
    """Train, and bring model and metrics to where the project wants them.

    Raises:
        TrainError: The job failed, or left no model; its last lines are in the message.
        ProjectError: No image is set.
        LimitError: A quota of the cluster would be exceeded.
    """
    config = account.config
    sources = training_sources(request)
    digests = {name: input_digest(path) for name, path in sorted(request.inputs.items())}
    revision = git_revision(request.project_dir)
    order = _bring(account, request, sources, progress)
    kube = account.kube(_cluster(account))
    job = _Job(account, kube, order, progress)
    try:
        job.begin()
        job.follow()
    except KeyboardInterrupt:
        job.stop()
        raise
    _fetch(account, order, job.name, set(sources))
    return TrainedModel(
        model=request.model,
        metrics=read_metrics(request.metrics) if request.metrics else {},
        inputs=digests,
        command=request.command,
        revision=revision,
        job=f"{config.training.cluster or kube.cluster}/{job.name}",
    )


def _cluster(account: Account) -> Any:
    name = account.config.training.cluster
    found = account.cluster(name) if name is not None else next(iter(account.clusters()), None)
    if found is None:
        raise NotFoundError(
            f"there is no cluster '{name}' to train on" if name else "there is no cluster",
            hint="set `training.cluster` of providers.gke to one that `edgectl doctor` lists",
        )
    return found


def _bring(
    account: Account, request: TrainRequest, sources: dict[str, Path], progress: Progress
) -> training.Order:
    """Push sources and inputs, unless they are there; the registry's digests are what is run."""
    place = training.training_repository(account.config, request.name)
    made = push_artifact(
        place, training.SOURCE_KIND, {training.SOURCE_FILE: training.pack_bytes(sources)}
    )
    by_path = {
        value: key
        for key, value in training_environment(request).items()
        if key.startswith("EDGECTL_INPUT_")
    }
    inputs = []
    for name, path in sorted(request.inputs.items()):
        pushed = _push_input(place, path)
        if pushed.uploaded_bytes:
            progress(f"input '{name}': {pushed.uploaded_bytes:,} bytes sent")
        inside = path.is_relative_to(request.project_dir)
        inputs.append(
            training.Input(
                name=name,
                variable=by_path[str(path)],
                digest=pushed.files[0].digest,
                file="" if path.is_dir() else path.name,
                path=path.relative_to(request.project_dir).as_posix() if inside else "",
            )
        )
    return training.make_order(account.config, request, made.files[0].digest, tuple(inputs))


def _push_input(place: str, path: Path) -> Any:
    if not path.is_dir():
        return push_artifact(place, training.SOURCE_KIND, {path.name: path})
    found = {p.relative_to(path).as_posix(): p for p in path.rglob("*") if p.is_file()}
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "input.tar.gz"
        with archive.open("wb") as out:
            training.pack(found, out)
        return push_artifact(place, training.SOURCE_KIND, {archive.name: archive})


class _Job:
    """One training in a cluster."""

    def __init__(
        self, account: Account, kube: Kube, order: training.Order, progress: Progress
    ) -> None:
        self._account = account
        self._kube = kube
        self._order = order
        self._progress = progress
        self._namespace = account.namespace(order.request.name)
        self._tail: deque[str] = deque(maxlen=TAIL)
        self._shown = 0
        self._said = ""
        self.name = ""

    def begin(self) -> None:
        """Make the job, or find the one of this very training that runs."""
        what = "look for the training's job"
        labels = {training.DIGEST_LABEL: self._order.mark}
        for found in self._kube.list(what, kinds.Job, self._namespace, labels):
            if _ended(found) is None:
                self.name = found["metadata"]["name"]
                self._progress(f"going on with the training job '{self.name}', which runs already")
                return
        name = training.job_name(self._order, time.strftime("%y%m%d%H%M%S", time.gmtime()))
        config_map, job = training.documents(self._account.config, self._order, name)
        if self._account.config.namespace is None:
            document = namespace(self._account.config, self._order.request.name)
            self._kube.apply("apply the namespace", document)
        self._kube.create(f"make ConfigMap '{name}'", config_map)
        self.name = name
        try:
            # The quota is asked for the pod itself: a Job is let in, and its pods are not.
            self._kube.apply("start the training", trial_pod(job), dry_run=True)
            made = self._kube.create(f"make Job '{name}'", job)
        except BaseException:
            self._remove()
            raise
        self._own(config_map, made)
        where = f"cluster '{self._kube.cluster}'"
        self._progress(f"training job '{name}' on {where} has begun")

    def follow(self) -> None:
        """Show what the job does until it has ended.

        Raises:
            TrainError: It did not end well.
        """
        lost_at: float | None = None
        begun = time.monotonic()
        while True:
            try:
                ended = self._look(begun)
                lost_at = None
            except UnreachableError as exc:
                lost_at = lost_at if lost_at is not None else time.monotonic()
                if time.monotonic() - lost_at > LOST_S:
                    exc.hint = f"the job '{self.name}' goes on: `edgectl train` again finds it"
                    raise
                ended = None
            if ended is not None:
                break
            time.sleep(LOOK_S)
        if not ended[0]:
            raise self._failure(ended[1])

    def stop(self) -> None:
        """Delete the job that nobody wants any more, and say so."""
        if not self.name:
            return
        try:
            self._remove()
        except ProviderError as exc:
            self._progress(
                f"the training job '{self.name}' could not be deleted and goes on: {exc.message}"
            )
        else:
            self._progress(f"the training job '{self.name}' was deleted")

    def _remove(self) -> None:
        self._kube.delete(f"delete Job '{self.name}'", kinds.Job, self.name, self._namespace)
        self._kube.delete(
            f"delete ConfigMap '{self.name}'", kinds.ConfigMap, self.name, self._namespace
        )

    def _own(self, config_map: Document, job: Document) -> None:
        """Have the ConfigMap go when the job goes."""
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": self.name,
            "uid": job["metadata"]["uid"],
        }
        patch = {"metadata": {"ownerReferences": [owner]}}
        name = config_map["metadata"]["name"]
        self._kube.merge("keep the ConfigMap", kinds.ConfigMap, name, patch, self._namespace)

    def _look(self, begun: float) -> tuple[bool, str] | None:
        """Return how the job ended, None while it runs; its log is shown meanwhile."""
        job = self._kube.get("look at the job", kinds.Job, self.name, self._namespace)
        if job is None:
            return False, "somebody deleted it"
        what, labels = "look at the job's pod", {"job-name": self.name}
        pods = self._kube.list(what, kinds.Pod, self._namespace, labels)
        for pod in pods:
            status = ((pod.get("status") or {}).get("containerStatuses") or [{}])[0]
            state = status.get("state") or {}
            if state.get("running") or state.get("terminated"):
                self._show(pod["metadata"]["name"])
            else:
                self._say_waiting(pod, state.get("waiting") or {}, begun)
        return _ended(job)

    def _show(self, pod: str) -> None:
        lines = self._kube.log(
            "read the job's log", pod, training.CONTAINER, self._namespace, follow=True
        )
        for number, line in enumerate(lines):
            if number < self._shown:
                continue  # the log is read from its beginning again after a cut
            self._shown = number + 1
            self._tail.append(line)
            self._progress(line)

    def _say_waiting(self, pod: Document, waiting: Document, begun: float) -> None:
        reason, said = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
        if reason in IMAGE_WORDS and time.monotonic() - begun > PULL_S:
            self._remove()
            image = self._account.config.training.image
            raise TrainError(
                f"the training's image '{image}' cannot be pulled: {said or reason}",
                hint="check `training.image` and `runtime.pull_secrets` of providers.gke",
                vendor_code=reason,
            )
        conditions = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
        scheduled = conditions.get("PodScheduled") or {}
        if scheduled.get("status") == "False":
            said = str(scheduled.get("message") or scheduled.get("reason") or "")
        text = said or reason
        if text and text != self._said and reason != "ContainerCreating":
            self._said = text
            self._progress(f"the training waits: {text}")

    def _failure(self, why: str) -> TrainError:
        lines = "; its last lines:\n" + "\n".join(self._tail) if self._tail else ""
        hint = "raise `training.timeout_s` of providers.gke" if why == "DeadlineExceeded" else ""
        return TrainError(
            f"the training job '{self.name}' failed: {why}{lines}", hint=hint, vendor_code=why
        )


def _ended(job: Document) -> tuple[bool, str] | None:
    """Return whether a job ended well and why it ended, None while it runs."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("status") == "True" and condition.get("type") in {"Complete", "Failed"}:
            said = str(condition.get("reason") or condition.get("message") or "")
            return condition["type"] == "Complete", said
    return None


def _fetch(account: Account, order: training.Order, name: str, sources: set[str]) -> None:
    """Bring what the job left here, and nothing else.

    Raises:
        TrainError: There is no model among it.
    """
    request = order.request
    place = training.training_repository(account.config, request.name)
    artifact = read_artifact(f"{place}:{name}")
    model = request.model.relative_to(request.project_dir).as_posix()
    left = {file.name: file for file in artifact.files} if artifact is not None else {}
    if model not in left:
        raise TrainError(
            f"the training job '{name}' left no model at '{model}'",
            hint="write the ONNX file to the path in EDGECTL_OUTPUT_MODEL",
        )
    for path, file in sorted(left.items()):
        if training.may_come_back(path, order, sources):
            fetch_artifact_file(place, file, request.project_dir / path)
