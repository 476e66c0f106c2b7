"""The numbers that leave the process: the Prometheus page and the health record."""

from __future__ import annotations

from pathlib import Path

from edge_components.contract.histogram import Histogram as HistogramData
from edge_components.contract.histogram import to_attributes
from edge_components.contract.telemetry import Value
from edge_components.runtime.metrics import BUCKETS_S, Exposition, Metrics
from edge_components.runtime.process import CpuMeter, disk_bytes, rss_bytes
from edge_components.runtime.registry import Registry
from edge_components.runtime.server import HttpServer
from edge_components.telemetry.queue import TelemetryQueue
from edge_components.telemetry.recorder import Recorder
from edge_components.telemetry.sensors import Sensors
from edge_components.telemetry.uplink import Uplink


class Numbers:
    """Gathers what the parts count."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        registry: Registry,
        recorder: Recorder,
        queue: TelemetryQueue,
        uplink: Uplink | None,
        server: HttpServer,
    ) -> None:
        self._metrics = metrics
        self._registry = registry
        self._recorder = recorder
        self._queue = queue
        self._uplink = uplink
        self._server = server

    def page(self) -> bytes:
        """Return the Prometheus page."""
        metrics, out = self._metrics, Exposition()
        out.family(
            "edge_inference_requests_total",
            "counter",
            "Inference requests that were answered with a result.",
            [({}, metrics.requests)],
        )
        out.family(
            "edge_errors_total",
            "counter",
            "Requests and readings without a result, by kind.",
            [({"kind": kind}, count) for kind, count in sorted(metrics.errors.items())],
        )
        out.family(
            "edge_http_errors_total",
            "counter",
            "HTTP error answers by status.",
            [({"status": str(s)}, count) for s, count in sorted(self._server.errors.items())],
        )
        out.histogram(
            "edge_inference_seconds", "Time from request to answer, HTTP apart.", metrics.latency
        )
        self._gauges(out)
        self._telemetry(out)
        return out.text()

    def _gauges(self, out: Exposition) -> None:
        metrics = self._metrics
        for name, help_text, value in (
            ("edge_in_flight", "Requests on the worker threads.", metrics.in_flight),
            ("edge_connections", "Open HTTP connections.", self._server.connections),
            ("process_resident_memory_bytes", "Resident memory.", rss_bytes()),
        ):
            out.family(name, "gauge", help_text, [({}, value)])
        out.family(
            "edge_pipeline_readings_total",
            "counter",
            "Readings that the pipeline answered.",
            [({}, metrics.pipeline_readings)],
        )
        out.family(
            "edge_pipeline_total",
            "counter",
            "What the pipeline did besides, by what: readings left out, deliveries, alarms.",
            [({"what": what}, n) for what, n in sorted(dict(metrics.pipeline).items())],
        )
        out.family(
            "edge_pipeline_waiting",
            "gauge",
            "Readings that wait for the pipeline.",
            [({}, metrics.pipeline_waiting)],
        )
        out.family(
            "edge_activations_total",
            "counter",
            "Changes of the active version.",
            [({"result": result}, count) for result, count in sorted(metrics.activations.items())],
        )
        out.family(
            "edge_left_event_loop_total",
            "counter",
            "Models that were quick when they were loaded and then held up others, by name.",
            [({"model": name}, count) for name, count in sorted(metrics.left_loop.items())],
        )
        labels = []
        for model in self._registry.models:
            identity = model.identity
            labels.append(
                {
                    "model": identity.name,
                    "version": identity.version,
                    "release": str(identity.release),
                    "package": identity.package,
                    "precision": identity.precision,
                    "provider": model.provider,
                }
            )
        out.family("edge_model_info", "gauge", "Loaded models.", [(item, 1) for item in labels])

    def _telemetry(self, out: Exposition) -> None:
        drops = self._recorder.drops
        out.family("edge_telemetry_queued", "gauge", "Records that wait.", [({}, len(self._queue))])
        out.family(
            "edge_telemetry_queued_bytes",
            "gauge",
            "What they take of the budget.",
            [({}, self._queue.size_bytes)],
        )
        samples = []
        for key, count in sorted(drops.items()):
            kind, _, why = key.partition(".")
            samples.append(({"kind": kind, "why": why}, count))
        out.family("edge_telemetry_dropped_total", "counter", "Records that were lost.", samples)
        if self._uplink is not None:
            out.family(
                "edge_telemetry_sent_total",
                "counter",
                "Records that a receiver took.",
                [({}, self._uplink.sent)],
            )


class Counts:
    """What was counted, as attributes of a health record; some since the last call.

    It touches memory only and no thread waits for another here, so it may be called where a
    release is switched. The caller calls it once at a time.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._counts, self._total_s = self._latencies()
        self._answered, self._failed = self._ends()

    def __call__(self) -> dict[str, Value]:
        """Return what was counted."""
        metrics = self._metrics
        latency = self._latency()
        answered, failed = self._ends()
        found: dict[str, Value] = {
            "requests": metrics.requests,
            "errors": metrics.failures,
            "pipeline.readings": metrics.pipeline_readings,
            "interval.answered": answered - self._answered,
            "interval.failed": failed - self._failed,
            "latency_p50_ms": round((latency.quantile(0.5) or 0.0) * 1000, 4),
            "latency_p99_ms": round((latency.quantile(0.99) or 0.0) * 1000, 4),
            **to_attributes("latency_s", latency),
        }
        self._answered, self._failed = answered, failed
        found |= {f"pipeline.{what}": n for what, n in sorted(dict(metrics.pipeline).items())}
        if metrics.pipeline_waiting:
            found["pipeline.waiting"] = metrics.pipeline_waiting
        found |= {f"errors.{kind}": n for kind, n in sorted(dict(metrics.errors).items())}
        return found

    def _ends(self) -> tuple[int, int]:
        metrics = self._metrics
        return metrics.requests + metrics.pipeline_readings, sum(dict(metrics.errors).values())

    def _latencies(self) -> tuple[list[int], float]:
        """Return the counts of all latencies, those of requests and of the pipeline."""
        requests, pipeline = self._metrics.latency, self._metrics.pipeline_latency
        counts = [one + other for one, other in zip(requests.counts, pipeline.counts, strict=True)]
        return counts, requests.total_s + pipeline.total_s

    def _latency(self) -> HistogramData:
        before, total_s = self._counts, self._total_s
        self._counts, self._total_s = self._latencies()
        counts = (now - then for now, then in zip(self._counts, before, strict=True))
        return HistogramData(bounds=BUCKETS_S, counts=tuple(counts), total=self._total_s - total_s)


class HealthProbe:
    """What the process and the machine tell, as attributes of a health record."""

    def __init__(self, state_dir: Path, *, sensors: Sensors | None = None) -> None:
        self._state_dir = state_dir
        self._sensors = sensors or Sensors()
        self._cpu = CpuMeter()

    def __call__(self) -> dict[str, Value]:
        """Measure."""
        return {
            "rss_bytes": rss_bytes(),
            "cpu_share": round(self._cpu.share(), 4),
            **disk_bytes(self._state_dir),
            **self._sensors.read(),
        }
