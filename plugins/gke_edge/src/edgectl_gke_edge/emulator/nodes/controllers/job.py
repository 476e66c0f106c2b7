"""Jobs: pods that run to their end, tried again so often, removed after a while.

Source: kubernetes.io, "Jobs", "Automatic Cleanup for Finished Jobs".
"""

from __future__ import annotations

import msgspec

from edgectl_gke_edge.emulator.nodes.api import Api, Obj
from edgectl_gke_edge.emulator.nodes.controllers.base import Controller
from edgectl_gke_edge.emulator.nodes.controllers.quota import CreateRefusedError, refused_by_quota
from edgectl_gke_edge.emulator.nodes.informer import Informer
from edgectl_gke_edge.emulator.nodes.kubelet.events import Events
from edgectl_gke_edge.emulator.nodes.podfacts import (
    age_s,
    condition,
    is_going,
    is_owned_by,
    is_ready,
    is_true,
    owner_reference,
    phase,
    pod_from,
    timestamp,
)

_REFUSED_AGAIN_S = 2.0
_BACKOFF_S, _BACKOFF_MAX_S = 1.0, 360.0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a Job.

    Attributes:
        create: How many pods to create.
        finished: ``Complete`` or ``Failed``, or "" while it goes on.
        reason: Of a failure.
    """

    create: int = 0
    finished: str = ""
    reason: str = ""
    message: str = ""


def restarts_of(pod: Obj) -> int:
    """Return how often a pod's containers were started again."""
    status = pod.get("status") or {}
    listed = [
        *(status.get("containerStatuses") or ()),
        *(status.get("initContainerStatuses") or ()),
    ]
    return sum(int(one.get("restartCount") or 0) for one in listed)


def judge(job: Obj, pods: list[Obj]) -> Verdict:
    """Return what is to be done for a Job that has not ended.

    Args:
        job: The Job.
        pods: Its own pods.
    """
    spec = job["spec"]
    limit = spec.get("backoffLimit")
    limit = 6 if limit is None else limit
    succeeded = sum(phase(pod) == "Succeeded" for pod in pods)
    failed = sum(phase(pod) == "Failed" for pod in pods)
    active = [p for p in pods if phase(p) not in ("Succeeded", "Failed") and not is_going(p)]
    completions = spec.get("completions")
    parallel = 1 if spec.get("parallelism") is None else spec["parallelism"]
    wanted = completions if completions is not None else parallel
    if spec.get("suspend"):
        return Verdict()
    deadline = spec.get("activeDeadlineSeconds")
    started = (job.get("status") or {}).get("startTime")
    if deadline is not None and started and age_s(started) >= deadline:
        text = "Job was active longer than specified deadline"
        return Verdict(finished="Failed", reason="DeadlineExceeded", message=text)
    on_failure = spec["template"]["spec"].get("restartPolicy") == "OnFailure"
    tries = failed + (sum(restarts_of(pod) for pod in active) if on_failure else 0)
    if tries > limit:
        text = "Job has reached the specified backoff limit"
        return Verdict(finished="Failed", reason="BackoffLimitExceeded", message=text)
    if succeeded >= (wanted if completions is not None else 1) and not active:
        return Verdict(finished="Complete")
    missing = max(min(parallel, wanted - succeeded) - len(active), 0)
    return Verdict(create=missing)


class Jobs(Controller):
    """Keeps Jobs.

    Args:
        api: The API server.
        jobs: All Jobs.
        pods: All pods.
        events: Where it says what it could not do.
    """

    def __init__(self, api: Api, jobs: Informer, pods: Informer, events: Events) -> None:
        super().__init__(api, "jobs", jobs)
        self._pods = pods
        self._events = events
        pods.on_change(self.wake_owner("Job", pods))

    async def sync(self, key: str) -> float | None:
        """Bring one Job a step on."""
        job = self.objects.get(key)
        if job is None or is_going(job):
            return None
        if is_true(job, "Complete") or is_true(job, "Failed"):
            return await self._expire(job)
        own = [pod for pod in self._pods.items.values() if is_owned_by(pod, job)]
        verdict = judge(job, own)
        if verdict.create and (wait := self._back_off(job, own)) > 0:
            await self._tell(job, own, verdict)
            return wait
        refused = False
        try:
            own += [await self._create(job) for _ in range(verdict.create)]
        except CreateRefusedError as exc:
            refused = True
            self._events.tell(job, "Job", "FailedCreate", f"Error creating: {exc.text}", warn=True)
        if verdict.finished == "Failed":
            for pod in own:
                if phase(pod) not in ("Succeeded", "Failed"):
                    await self.api.delete("pods", pod)
        await self._tell(job, own, verdict)
        if refused:
            return _REFUSED_AGAIN_S
        return 1.0 if job["spec"].get("activeDeadlineSeconds") is not None else None

    def _back_off(self, job: Obj, pods: list[Obj]) -> float:
        """Return how long to wait before a pod that failed is followed by another."""
        failed = [p for p in pods if phase(p) == "Failed"]
        if not failed:
            return 0.0
        wait = min(_BACKOFF_S * 2.0 ** (len(failed) - 1), _BACKOFF_MAX_S)
        ended = min(age_s(_ended_at(pod)) for pod in failed)
        return max(wait - ended, 0.0)

    async def _create(self, job: Obj) -> Obj:
        meta = job["metadata"]
        labels = {
            "batch.kubernetes.io/job-name": meta["name"],
            "job-name": meta["name"],
            "batch.kubernetes.io/controller-uid": meta["uid"],
            "controller-uid": meta["uid"],
        }
        reference = owner_reference(job, "batch/v1", "Job")
        with refused_by_quota(job, "Job"):
            body = pod_from(job["spec"]["template"], reference, meta["namespace"], labels)
            pod = await self.api.create("pods", meta["namespace"], body)
        self._pods.put(pod)
        self._events.tell(job, "Job", "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}")
        return pod

    async def _tell(self, job: Obj, pods: list[Obj], verdict: Verdict) -> None:
        active = [p for p in pods if phase(p) not in ("Succeeded", "Failed") and not is_going(p)]
        before = job.get("status") or {}
        status: Obj = {
            "startTime": before.get("startTime") or timestamp(),
            "active": 0 if verdict.finished else len(active),
            "ready": 0 if verdict.finished else sum(is_ready(pod) for pod in active),
            "succeeded": sum(phase(pod) == "Succeeded" for pod in pods),
            "failed": sum(phase(pod) == "Failed" for pod in pods),
        }
        if verdict.finished:
            now = timestamp()
            found: Obj = {"type": verdict.finished, "status": "True"}
            found |= {"lastProbeTime": now, "lastTransitionTime": now}
            if verdict.reason:
                found |= {"reason": verdict.reason, "message": verdict.message}
            first = "FailureTarget" if verdict.finished == "Failed" else "SuccessCriteriaMet"
            status["conditions"] = [{**found, "type": first}, found]
            if verdict.finished == "Complete":
                status["completionTime"] = now
        await self.write_status(job, status)

    async def _expire(self, job: Obj) -> float | None:
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        if ttl is None:
            return None
        ended = condition(job, "Complete") or condition(job, "Failed") or {}
        left = float(ttl) - age_s(ended.get("lastTransitionTime"))
        if left > 0:
            return left
        await self.api.delete("jobs", job)
        return None


def _ended_at(pod: Obj) -> str | None:
    times = [
        (one.get("state") or {}).get("terminated", {}).get("finishedAt")
        for one in (pod.get("status") or {}).get("containerStatuses") or ()
    ]
    return max((one for one in times if one), default=None)
