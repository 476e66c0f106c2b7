"""Asking others: a device without a model of its own, and a second opinion for one with.

A remote has a deadline and a breaker: one that does not answer costs a few deadlines, then
nothing, until one question after a while finds it alive again.
"""

from __future__ import annotations

import contextlib
import threading
import time

from edge_components.contract.device import PipelineSection
from edge_components.contract.pipeline import Breaker, Fallback, Pipeline, Remote
from edge_components.pipeline.breaker import CircuitBreaker
from edge_components.pipeline.endpoints import resolve
from edge_components.pipeline.errors import Abandoned, PipelineError
from edge_components.pipeline.finish import Finish
from edge_components.pipeline.found import Abandon, Answerer, Found
from edge_components.pipeline.oip_client import Answered, OipClient, RemoteError
from edge_components.pipeline.reading import Item, Value
from edge_components.pipeline.reports import Reports
from edge_components.runtime.model import Identity, ModelError

_SCHEMES = frozenset({"http", "https"})
_LOOK_S = 0.05
_MOST_CALLS = 2
ORIGIN = "remote"


def build(
    pipeline: Pipeline,
    model_name: str,
    local: Answerer | None,
    *,
    finish: Finish,
    device: PipelineSection,
    reports: Reports,
) -> Answerer:
    """Return who answers for a pipeline that names others.

    Args:
        pipeline: Has ``remote`` or ``fallback``.
        model_name: Of the local model, which the remote's is called too where nothing is said.
        local: Inference by this device, or None.
        finish: The steps after inference.
        device: The device's word on endpoints.
        reports: Is told what happens.

    Raises:
        PipelineError: Nobody says where the remote is, or what its model is called.
    """
    settings: Breaker | None = pipeline.remote or pipeline.fallback
    if settings is None:
        raise PipelineError("the pipeline names no remote")
    name = settings.model or model_name
    if not name:
        raise PipelineError("the remote's 'model' has to be named where there is no local one")
    client = OipClient(resolve(settings, device, _SCHEMES), name, settings.version)
    other = _Other(settings, name, client, finish, reports)
    if isinstance(settings, Remote):
        return RemoteAnswers(settings, other, reports)
    assert isinstance(settings, Fallback)  # noqa: S101  # there is no third kind
    return FallbackAnswers(settings, other, local, reports)


class _Other:
    """A remote model behind a deadline and a breaker."""

    def __init__(
        self, settings: Breaker, name: str, client: OipClient, finish: Finish, reports: Reports
    ) -> None:
        self.breaker = CircuitBreaker(settings.failures, settings.retry_s, settings.max_retry_s)
        self.why = ""
        self._name = name
        self._client = client
        self._finish = finish
        self._reports = reports
        self._calls = 0
        self._lock = threading.Lock()

    def ask(self, item: Item, deadline_s: float) -> Found | None:
        """Return the remote's answer, or None where there is none in time.

        Raises:
            PipelineError: The reading does not fit the remote model, or a step.
        """
        if self.breaker.is_open:
            self._reports.count("remote_skipped")
            return None
        self._reports.count("remote_asked")
        start = time.perf_counter()
        try:
            answered = self._in_time(item.value, deadline_s)
        except RemoteError as exc:
            self.why = str(exc)
            self._reports.count("remote_failed")
            self.breaker.failed()
            self._reports.trouble("remote", f"the remote model gives no answer: {exc}")
            return None
        self.breaker.succeeded()
        self._reports.fine("remote")
        self._reports.count("remote_answered")
        identity = Identity(name=self._name, version=answered.version)
        passed = time.perf_counter() - start
        self._reports.inferred(passed)
        self._reports.recorder.prediction(
            _Named(identity),
            passed,
            answered.specs,
            answered.arrays,
            "pipeline-remote",
        )
        pairs = zip(answered.specs, answered.arrays, strict=True)
        work = self._finish({spec.name: array for spec, array in pairs}, item)
        return Found(work, identity, ORIGIN)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _in_time(self, value: Value, deadline_s: float) -> Answered:
        """Ask on a thread, so that no trickle of bytes can stretch the deadline."""
        with self._lock:
            if self._calls >= _MOST_CALLS:
                raise RemoteError("earlier questions still wait")
            self._calls += 1
        found: list[Answered | Exception] = []
        done = threading.Event()

        def call() -> None:
            try:
                found.append(self._client.infer(value, deadline_s))
            except Exception as exc:  # noqa: BLE001  # raised below, in the thread that waits
                found.append(exc)
            finally:
                with self._lock:
                    self._calls -= 1
                done.set()

        threading.Thread(target=call, name="remote", daemon=True).start()
        if not done.wait(deadline_s):
            self._reports.count("remote_late")
            raise RemoteError(f"no answer within {deadline_s:g} s")
        (answered,) = found
        if isinstance(answered, Exception):
            raise answered
        return answered


class RemoteAnswers:
    """Inference by a server of the site."""

    def __init__(self, settings: Remote, other: _Other, reports: Reports) -> None:
        self._settings = settings
        self._other = other
        self._reports = reports

    def __call__(self, item: Item, abandon: Abandon) -> Found:
        """Ask, and wait for the server where the pipeline says so.

        Raises:
            PipelineError: The reading does not fit, or the server is away and nobody waits.
            Abandoned: The pipeline changes or ends.
        """
        while True:
            found = self._other.ask(item, self._settings.deadline_s)
            if found is not None:
                return found
            if self._settings.when_down == "fail":
                raise PipelineError(f"the remote model gives no answer: {self._other.why}")
            rest_until = time.monotonic() + max(_LOOK_S, self._other.breaker.wait_s)
            while time.monotonic() < rest_until:
                if abandon():
                    raise Abandoned
                time.sleep(_LOOK_S)

    def close(self, timeout_s: float) -> None:
        """Close the connections."""
        del timeout_s
        self._other.close()


class FallbackAnswers:
    """This device first, and the remote where its answer is not good enough."""

    def __init__(
        self, settings: Fallback, other: _Other, local: Answerer | None, reports: Reports
    ) -> None:
        self._settings = settings
        self._other = other
        self._local = local
        self._reports = reports

    def __call__(self, item: Item, abandon: Abandon) -> Found:
        """Answer, with the local answer as the fall-back.

        Raises:
            PipelineError: The reading does not fit, or there is neither answer.
            ModelError: The local model failed, and the remote gives no answer.
        """
        mine: Found | None = None
        trouble: ModelError | None = None
        if self._local is not None:
            try:
                mine = self._local(item, abandon)
            except ModelError as exc:
                trouble = exc
        if mine is not None and self._is_good(mine):
            return mine
        theirs: Found | None = None
        with contextlib.suppress(PipelineError):  # then the local answer stands
            theirs = self._other.ask(item, self._settings.deadline_s)
        if theirs is not None:
            self._reports.count("fallback_remote")
            return theirs
        if mine is None:
            if trouble is not None:
                raise trouble
            raise PipelineError(f"the remote model gives no answer: {self._other.why}")
        self._reports.count("fallback_local")
        return mine

    def close(self, timeout_s: float) -> None:
        """Close the connections."""
        del timeout_s
        self._other.close()

    def _is_good(self, found: Found) -> bool:
        below = self._settings.confidence_below
        if below is None:
            return True
        score = found.work.score()
        if score is None:
            raise PipelineError("fallback needs a step that gives a score, such as argmax")
        return score >= below


class _Named:
    """Whose answer a prediction record is about."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
