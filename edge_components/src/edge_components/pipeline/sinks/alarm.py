"""The alarm: a condition over answers that runs a command of the device or sends a message.

It is the first of the sinks and never fails, so nothing is between an answer and the shutdown of
a machine but this. A command is the device's own, named by the release; the alarm is handed to it
as environment and as JSON on standard input, never as a piece of a command line.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from edge_components.contract.condition import parse_condition
from edge_components.contract.pipeline import AlarmSink
from edge_components.pipeline.alarms import AlarmState, Change, vote
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.parts import Writer
from edge_components.pipeline.reports import Reports
from edge_components.pipeline.state import state_key

log = logging.getLogger(__name__)

_MAX_KEYS = 1024
_MOST_AT_ONCE = 4
_INFO, _ERROR = 9, 17


class AlarmWriter:
    """Watches answers.

    Args:
        sink: The alarm.
        commands: The device's commands by name.
        messengers: Sinks for its messages.
        reports: Is told of it.

    Raises:
        PipelineError: The device has no such command.
    """

    def __init__(
        self,
        sink: AlarmSink,
        commands: Mapping[str, Sequence[str]],
        messengers: Sequence[Writer],
        reports: Reports,
    ) -> None:
        for name in (sink.command, sink.clear_command):
            if name is not None and not commands.get(name):
                known = ", ".join(f"'{one}'" for one in sorted(commands)) or "none"
                raise PipelineError(
                    f"alarm '{sink.name}': the device's file has no command '{name}' "
                    f"(pipeline.commands; it has {known})"
                )
        self.state_key = state_key("alarm", sink)
        self.dirty = False
        self._sink = sink
        self._commands = commands
        self._messengers = messengers
        self._reports = reports
        self._when = parse_condition(sink.when)
        self._clear = None if sink.clear is None else parse_condition(sink.clear)
        self._states: OrderedDict[str, AlarmState] = OrderedDict()
        self._running: set[threading.Thread] = set()

    def write(self, name: str, answer: dict[str, Any]) -> None:
        """Look at an answer, and act if it changes the alarm."""
        sink = self._sink
        found = {**answer["answer"], "name": name, "key": answer.get("key", "")}
        when = self._when.holds(found)
        clear = not when if self._clear is None else self._clear.holds(found)
        key = str(found["key"]) if sink.per_key else ""
        state = self._of(key)
        before = (*state.votes, state.raised, state.acted)
        change = vote(
            state,
            when=when,
            clear=clear,
            now_ns=answer["time_unix_ns"],
            votes=sink.votes,
            min_interval_s=sink.min_interval_s,
        )
        self.dirty |= before != (*state.votes, state.raised, state.acted)
        if change is Change.HELD:
            self._reports.count("alarms_held")
        elif change is not None:
            self._act(change, key, answer)

    def dump(self) -> bytes:
        """Return the alarm of each key as MessagePack."""
        return msgspec.msgpack.encode(self._states)

    def restore(self, data: bytes) -> None:
        """Take the alarms that ``dump`` gave.

        Raises:
            ValueError, msgspec.MsgspecError: They are no such thing.
        """
        self._states = OrderedDict(msgspec.msgpack.decode(data, type=dict[str, AlarmState]))

    def close(self, timeout_s: float) -> None:
        """Wait for commands and messages, at most for so long."""
        until = time.monotonic() + timeout_s
        for thread in tuple(self._running):
            thread.join(max(0.0, until - time.monotonic()))
        for messenger in self._messengers:
            messenger.close(max(0.0, until - time.monotonic()))

    def _of(self, key: str) -> AlarmState:
        state = self._states.get(key)
        if state is None:
            if len(self._states) >= _MAX_KEYS:
                self._states.popitem(last=False)
            state = self._states[key] = AlarmState()
        self._states.move_to_end(key)
        return state

    def _act(self, change: Change, key: str, answer: dict[str, Any]) -> None:
        sink, raised = self._sink, change is Change.RAISED
        document = {
            "alarm": sink.name,
            "state": change.value,
            "key": key,
            "reading": answer["reading"],
            "time_unix_ns": answer["time_unix_ns"],
            "answer": answer["answer"],
        }
        command = sink.command if raised else sink.clear_command
        if command is not None:
            self._start(self._commands[command], document)
        for messenger in self._messengers:
            try:
                messenger.write(sink.name, document)
            except (OSError, PipelineError) as exc:
                self._reports.trouble("alarm", f"alarm '{sink.name}' cannot be sent: {exc}")
        self._reports.count(f"alarms_{change.value}")
        self._reports.recorder.event(
            f"alarm '{sink.name}' is {change.value}",
            severity=_ERROR if raised else _INFO,
            attributes={"alarm": sink.name, "key": key, "reading": str(answer["reading"])},
        )

    def _start(self, command: Sequence[str], document: dict[str, Any]) -> None:
        if len(self._running) >= _MOST_AT_ONCE:
            self._reports.count("alarm_commands_left_out")
            self._reports.event(f"alarm '{self._sink.name}': its commands do not end")
            return
        thread = threading.Thread(
            target=self._run, args=(command, document), name="alarm-command", daemon=True
        )
        self._running.add(thread)
        thread.start()

    def _run(self, command: Sequence[str], document: dict[str, Any]) -> None:
        try:
            why = run_command(command, document, self._sink.command_timeout_s)
        finally:
            self._running.discard(threading.current_thread())
        self._reports.count("alarm_commands_failed" if why else "alarm_commands")
        if why:
            self._reports.event(f"alarm '{self._sink.name}': its command {why}", severity=_ERROR)


def run_command(command: Sequence[str], document: dict[str, Any], timeout_s: float) -> str:
    """Run a command of the device; return what went wrong, or ""."""
    environment = {
        **os.environ,
        "EDGE_ALARM": str(document["alarm"]),
        "EDGE_ALARM_STATE": str(document["state"]),
        "EDGE_ALARM_KEY": str(document["key"]).replace("\0", ""),
    }
    try:
        child = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    except OSError as exc:
        return f"cannot be run: {exc.strerror}"
    try:
        child.communicate(msgspec.json.encode(document), timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return f"took longer than {timeout_s:g} s and was killed"
    return "" if child.returncode == 0 else f"ended with exit code {child.returncode}"
