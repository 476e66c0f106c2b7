"""The lines that a training job prints, read from CloudWatch Logs as they come.

A job has no log before its container prints, and lines arrive there a little after they were
printed (SageMaker developer guide, "Log groups and streams that Amazon SageMaker sends").
"""

from __future__ import annotations

from collections.abc import Iterator

from edgectl_aws_greengrass._sdk.account import Account

GROUP = "/aws/sagemaker/TrainingJobs"
MAX_LINE = 4096


class JobLog:
    """The log of one training job.

    Args:
        account: Where it runs.
        job: Its name.
    """

    def __init__(self, account: Account, job: str) -> None:
        self._account = account
        self._job = job
        self._tokens: dict[str, str | None] = {}

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
