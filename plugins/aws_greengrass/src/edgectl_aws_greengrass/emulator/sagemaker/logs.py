"""A training job's lines in CloudWatch Logs, where SageMaker puts them.

Group ``/aws/sagemaker/TrainingJobs``, stream ``<job>/algo-1-<seconds>`` (SageMaker developer
guide, "Log groups and streams").
"""

from __future__ import annotations

import threading
import time

from moto.logs.models import logs_backends

GROUP = "/aws/sagemaker/TrainingJobs"
MAX_EVENT_BYTES = 256 * 1024 - 26

_making = threading.Lock()


class JobLog:
    """The log stream of one job; made with its first line.

    Args:
        account: Twelve digits.
        region: The Region.
        job: The job's name.
    """

    def __init__(self, account: str, region: str, job: str) -> None:
        self._backend = logs_backends[account][region]
        self._stream = f"{job}/algo-1-{int(time.time())}"
        self._made = False

    def write(self, line: str) -> None:
        """Add a line."""
        self._make()
        event = {"timestamp": int(time.time() * 1000), "message": line[:MAX_EVENT_BYTES]}
        self._backend.put_log_events(GROUP, self._stream, [event])

    def _make(self) -> None:
        if self._made:
            return
        with _making:
            if GROUP not in self._backend.groups:
                self._backend.create_log_group(GROUP, {})
            self._backend.create_log_stream(GROUP, self._stream)
        self._made = True
