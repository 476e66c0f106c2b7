"""HTTP to others: one kept connection, the device's credentials, bounded answers."""

from __future__ import annotations

from typing import NamedTuple

import urllib3

from edge_components.pipeline.endpoints import Endpoint

MAX_ANSWER_BYTES = 64 << 20


class WebError(OSError):
    """Nobody answered, or not in time."""


class Reply(NamedTuple):
    """An answer: its status, its body, and the headers."""

    status: int
    body: bytes
    headers: urllib3.HTTPHeaderDict


class Web:
    """Talks to one endpoint; secrets are read anew for each connection that is made.

    Args:
        endpoint: Whom to talk to.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        section = endpoint.section
        self._pool = urllib3.PoolManager(
            maxsize=2,
            ca_certs=section.ca or None,
            cert_file=section.certificate or None,
            key_file=section.key or None,
        )

    def request(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: dict[str, str],
        timeout_s: float,
    ) -> Reply:
        """Send one request and read its answer, at most ``MAX_ANSWER_BYTES`` of it.

        Raises:
            WebError: Nobody answered, not in time, or too much.
            PipelineError: A secret cannot be read.
        """
        authorization = self._endpoint.authorization()
        if authorization is not None:
            headers = {**headers, "Authorization": authorization}
        try:
            answer = self._pool.request(
                method,
                url,
                body=body,
                headers=headers,
                retries=False,
                redirect=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=timeout_s, read=timeout_s),
            )
            try:
                data = answer.read(MAX_ANSWER_BYTES + 1)
            finally:
                answer.release_conn()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as exc:
            reason = f"{type(exc).__name__} ({self._endpoint.shown})"
            raise WebError(f"no answer: {reason}") from exc
        if len(data) > MAX_ANSWER_BYTES:
            raise WebError(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
        return Reply(answer.status, data, answer.headers)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()
