"""The direct methods of the module: ``ping``, ``status``, ``rollback`` and ``logs``.

Names and answers are for programs: JSON in, JSON out, with a status as HTTP has it. An answer may
have 128 KB (Azure: IoT Hub, "Understand and invoke direct methods").
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import decode_json

MAX_ANSWER_BYTES = 128 << 10
_MAX_QUESTION_BYTES = 128 << 10
_MAX_LINES = 2000
_MAX_LINE_CHARS = 1000
_LOGS_BYTES = 100 << 10


class Journal(logging.Handler):
    """The last lines of this process's log, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=_MAX_LINES)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(self.format(record)[:_MAX_LINE_CHARS])

    def tail(self, count: int) -> list[str]:
        """Return the last lines that fit into an answer, oldest first."""
        found: list[str] = []
        room = _LOGS_BYTES
        for line in reversed(list(self.lines)[-count:]):
            room -= len(line.encode()) + 8
            if room < 0:
                break
            found.append(line)
        return found[::-1]


class _LogsQuestion(msgspec.Struct, frozen=True):
    tail: int = 100


class Methods:
    """Answers direct methods.

    Args:
        status: Gives the module's status, as plain data.
        go_back: Has the device go back; gives the version's number, 0 where it cannot.
        journal: The module's log.
    """

    def __init__(
        self,
        status: Callable[[], dict[str, Any]],
        go_back: Callable[[], int],
        journal: Journal,
    ) -> None:
        self._status = status
        self._go_back = go_back
        self._journal = journal
        self._began = time.monotonic()

    def answer(self, name: str, payload: bytes) -> tuple[int, dict[str, Any]]:
        """Return status and answer."""
        match name:
            case "ping":
                return 200, {"ok": True, "uptimeSeconds": round(time.monotonic() - self._began, 1)}
            case "status":
                return 200, self._status()
            case "rollback":
                return self._rollback()
            case "logs":
                return self._logs(payload)
        known = ["ping", "status", "rollback", "logs"]
        return 404, {"error": f"'{name[:80]}' is no method of this module", "methods": known}

    def _rollback(self) -> tuple[int, dict[str, Any]]:
        number = self._go_back()
        if not number:
            return 409, {"error": "there is no version to go back to, or an update is under way"}
        return 202, {"release": number}

    def _logs(self, payload: bytes) -> tuple[int, dict[str, Any]]:
        try:
            question = decode_json(
                payload if payload.strip() not in {b"", b"null"} else b"{}",
                _LogsQuestion,
                what="the question",
                max_bytes=_MAX_QUESTION_BYTES,
            )
        except ContractError as exc:
            return 400, {"error": str(exc)}
        return 200, {"lines": self._journal.tail(max(1, min(question.tail, _MAX_LINES)))}
