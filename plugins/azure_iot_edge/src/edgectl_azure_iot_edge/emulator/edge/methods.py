"""The direct methods of ``$edgeAgent``: ping, RestartModule, GetModuleLogs.

Words and codes: how-to-edgeagent-direct-method and the agent's RequestManager; names have no case.
UploadModuleLogs, UploadSupportBundle and GetTaskStatus are refused as any other name.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

MAX_LOG_BYTES = 127_000
_LEVEL = re.compile(r"<(\d)>")

Restart = Callable[[str], None]
Logs = Callable[[], Mapping[str, bytes]]


class MethodError(Exception):
    """A method that cannot be carried out; ``code`` is what the caller gets."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def answer(name: str, payload: bytes, restart: Restart, logs: Logs) -> tuple[int, bytes]:
    """Carry out a method; return its status and JSON.

    ``restart`` raises ``MethodError`` for a module that cannot be; ``logs`` returns what each
    module printed.
    """
    verbs: dict[str, Callable[[dict[str, Any]], Any]] = {
        "ping": lambda _asked: None,
        "restartmodule": lambda asked: restart(_id(asked)),
        "getmodulelogs": lambda asked: _logs(asked, logs()),
    }
    verb = verbs.get(name.lower())
    if verb is None:
        known = "ping,RestartModule,GetModuleLogs"
        return _refusal(400, f"Command '{name}' not found. The supported commands are - {known}")
    try:
        return 200, json.dumps(verb(_asked(payload))).encode()
    except MethodError as exc:
        return _refusal(exc.code, str(exc))


def _refusal(code: int, message: str) -> tuple[int, bytes]:
    return code, json.dumps({"message": message}).encode()


def _asked(payload: bytes) -> dict[str, Any]:
    try:
        found = json.loads(payload or b"null")
    except ValueError as exc:
        raise MethodError(400, f"The payload is no JSON: {exc}") from exc
    return found if isinstance(found, dict) else {}


def _id(asked: Mapping[str, Any]) -> str:
    if not str(asked.get("schemaVersion", "")).startswith("1."):
        raise MethodError(400, "The schemaVersion has to be 1.0")
    if not isinstance(asked.get("id"), str):
        raise MethodError(400, "Request payload not found")
    return str(asked["id"])


def _logs(asked: Mapping[str, Any], logs: Mapping[str, bytes]) -> list[dict[str, Any]]:
    items = asked.get("items")
    if not str(asked.get("schemaVersion", "")).startswith("1.") or not isinstance(items, list):
        raise MethodError(400, "Request payload not found")
    found = []
    for item in items:
        try:
            pattern = re.compile(str(item["id"]))
            wanted = item.get("filter") or {}
            names = [name for name in sorted(logs) if pattern.search(name)]
            found += [_entry(name, _filtered(logs[name], wanted), asked) for name in names]
        except (re.error, KeyError, TypeError, ValueError, AttributeError) as exc:
            raise MethodError(400, f"The log request cannot be read: {exc}") from exc
    return found


def _filtered(log: bytes, wanted: Mapping[str, Any]) -> list[str]:
    lines = log.decode(errors="replace").splitlines()
    if wanted.get("loglevel") is not None:
        limit = int(wanted["loglevel"])
        lines = [line for line in lines if (level := _LEVEL.match(line)) and int(level[1]) <= limit]
    if wanted.get("regex"):
        pattern = re.compile(str(wanted["regex"]))
        lines = [line for line in lines if pattern.search(line)]
    if wanted.get("tail") is not None:
        lines = lines[-max(int(wanted["tail"]), 0) :] if int(wanted["tail"]) > 0 else []
    return lines


def _entry(name: str, lines: list[str], asked: Mapping[str, Any]) -> dict[str, Any]:
    text = "".join(f"{line}\n" for line in lines)
    if str(asked.get("contentType", "text")).lower() == "json":
        text = json.dumps([{"text": line, "iotmodule": name} for line in lines])
    content = text.encode()
    if str(asked.get("encoding", "none")).lower() == "gzip":
        packed = gzip.compress(content)
        if len(packed) <= MAX_LOG_BYTES:
            return {"id": name, "payloadBytes": base64.b64encode(packed).decode()}
        return {"id": name, "payload": _too_large(len(packed))}
    if len(content) > MAX_LOG_BYTES:
        return {"id": name, "payload": _too_large(len(content))}
    return {"id": name, "payload": text}


def _too_large(size: int) -> str:
    return (
        f"The payload is too large for a direct method. GetModuleLogs supports up to"
        f" {MAX_LOG_BYTES} bytes of logs. The current request returned {size} bytes."
    )
