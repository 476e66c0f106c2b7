"""The lines that a training job prints, read from CloudWatch Logs as they come.

A job has no log before its container prints, and lines arrive there a little after they were
printed (SageMaker developer guide, "Log groups and streams that Amazon SageMaker sends").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from edgectl.api import AuthError
from edgectl_aws_greengrass._sdk.account import Account
from edgectl_aws_greengrass.errors import DENIED

GROUP = "/aws/sagemaker/TrainingJobs"
MAX_LINE = 4096
TAIL_LINES = 15


class JobLog:
    """The log of one training job.

    Args:
        account: Where it runs.
        job: Its name.
        progress: Takes each line.

    Attributes:
        tail: The last lines.
    """

    def __init__(self, account: Account, job: str, progress: Callable[[str], None]) -> None:
        self._account = account
        self._job = job
        self._progress = progress
        self._tokens: dict[str, str | None] = {}
        self._readable = True
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)

    def show(self) -> None:
        """Show what was printed since the last call; a log that is not ours to read ends that."""
        try:
            for line in self.lines() if self._readable else ():
                self.tail.append(line)
                self._progress(line)
        except AuthError as exc:
            if exc.vendor_code not in DENIED:
                raise
            self._readable = False
            self._progress(f"the job goes on, its log stays at AWS: {exc.message}")

    def lines(self) -> Iterator[str]:
        """Yield what was printed since the last call."""
        for stream in self._streams():
            yield from self._new(stream)

    def _streams(self) -> list[str]:
        if not self._tokens:
            found = self._account.find(
                "logs",
                "DescribeLogStreams",
                f"find the log of '{self._job}'",
                logGroupName=GROUP,
                logStreamNamePrefix=f"{self._job}/",
            )
            names = [stream["logStreamName"] for stream in (found or {}).get("logStreams", ())]
            self._tokens = dict.fromkeys(sorted(names))
        return list(self._tokens)

    def _new(self, stream: str) -> Iterator[str]:
        while True:
            token = self._tokens[stream]
            answer = self._account.call(
                "logs",
                "GetLogEvents",
                f"read the log of '{self._job}'",
                logGroupName=GROUP,
                logStreamName=stream,
                startFromHead=True,
                nextToken=token,
            )
            for event in answer["events"]:
                for line in str(event["message"]).replace("\r", "\n").split("\n"):
                    if line.strip():
                        yield line[:MAX_LINE].rstrip()
            self._tokens[stream] = answer.get("nextForwardToken", token)
            # The end of a stream gives the same token again.
            if not answer["events"] or self._tokens[stream] == token:
                return
