"""``edge-agent import``: a bundle from a file, through the running agent or without one.

Where an agent runs, it does the work and answers while it does; this command only hands the open
file over. Where none runs, the command is the agent for as long as the import takes: it starts the
runtime, updates, soaks, and ends both. The exit codes are those of ``edge-agent apply``.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import msgspec

from edge_components.agent.agent import Agent
from edge_components.agent.bundle import open_file
from edge_components.agent.config import load_config
from edge_components.agent.control import ControlClient, ControlError
from edge_components.agent.handover import HandoverError, Question, hand_over
from edge_components.agent.importing import Answer, import_bundle
from edge_components.agent.layout import Layout, layout_of
from edge_components.agent.supervisor import PID_FILE
from edge_components.agent.wiring import Tuning, run
from edge_components.apply.verdict import ExitCode
from edge_components.store.disk import Disk
from edge_components.store.store import StoreBusyError
from edge_components.update.ports import Trust

INTERRUPTED = 130
_BUSY_S = 10.0
_LOOK_S = 0.2
_WORDS = {
    "release": "verifying the release",
    "package": "verifying the package",
    "fetch": "copying its files",
    "stage": "putting them in place",
    "check": "running the golden check",
    "activate": "switching",
    "soak": "soaking",
    "fall-back": "falling back",
}


def import_file(
    config_path: Path,
    file: Path,
    *,
    tuning: Tuning | None = None,
    disk: Disk | None = None,
    trust: Trust | None = None,
) -> int:
    """Import a bundle; print the device's report and return the exit code.

    Args:
        config_path: The device's configuration.
        file: The bundle.
        tuning: Durations other than those for service, where no agent runs.
        disk: Durable file operations, if they are to be observed.
        trust: Who is believed; by default the configured publishers, verified in a child.

    Raises:
        ContractError: The configuration cannot be used, or the file cannot be read.
        StoreError: The store's record cannot be read.
    """
    config, _profile = load_config(config_path)
    layout = layout_of(config)
    question = Question(device=config.device.id, name=file.name)
    descriptor = open_file(file)
    alone = _Alone(config_path, layout, tuning, disk, trust)
    try:
        answer = _import(question, descriptor, layout, alone)
    except HandoverError as exc:
        _say(str(exc))
        return ExitCode.TEMPORARY
    except KeyboardInterrupt:
        _say("the agent goes on with it; `edge-agent status` tells how it ends")
        return INTERRUPTED
    finally:
        os.close(descriptor)
    report = answer.report
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    sys.stdout.flush()
    _say(
        f"release {report.release}: {report.state.value} {report.detail or report.reason}".rstrip()
    )
    return answer.exit


class _Alone:
    """The agent for as long as one import takes."""

    def __init__(
        self,
        config_path: Path,
        layout: Layout,
        tuning: Tuning | None,
        disk: Disk | None,
        trust: Trust | None,
    ) -> None:
        self._config_path = config_path
        self._layout = layout
        self._tuning = tuning
        self._disk = disk
        self._trust = trust

    def import_bundle(self, descriptor: int, name: str) -> Answer:
        """Import; raises ``HandoverError`` if it may not, ``StoreBusyError`` if another works."""
        _check_owner(self._layout.state_dir)
        _check_runtime(self._layout)
        answers: list[Answer] = []

        def errand(agent: Agent) -> None:
            own = os.dup(descriptor)
            answers.append(import_bundle(agent, own, name, _say_phase, wait=agent.rest))

        run(
            self._config_path,
            tuning=self._tuning,
            disk=self._disk,
            trust=self._trust,
            errand=errand,
        )
        if not answers:
            raise HandoverError("the import was broken off; the same command goes on")
        return answers[0]


def _import(question: Question, descriptor: int, layout: Layout, alone: _Alone) -> Answer:
    deadline = time.monotonic() + _BUSY_S
    while True:
        answer = hand_over(layout.agent_socket, question, descriptor, _say_phase)
        if answer is not None:
            return answer
        try:
            return alone.import_bundle(descriptor, question.name)
        except StoreBusyError as exc:
            # An agent that just starts holds the store before it listens.
            if time.monotonic() > deadline:
                raise HandoverError(f"{exc}, and it does not listen") from exc
        time.sleep(_LOOK_S)


def _check_owner(state_dir: Path) -> None:
    """Refuse to write files into the store that its agent could not change later."""
    try:
        owner = state_dir.stat().st_uid
    except FileNotFoundError:
        return
    if owner != os.geteuid():
        raise HandoverError(
            f"'{state_dir}' belongs to user {owner}: import as that user, or start the agent"
        )


def _check_runtime(layout: Layout) -> None:
    """Refuse where the runtime is another program's: that one also decides what it runs."""
    try:
        pid = ControlClient(layout.control_socket).status().pid
    except ControlError:
        return
    try:
        known = int((layout.state_dir / PID_FILE).read_text())
    except (OSError, ValueError):
        known = 0
    if known != pid:
        raise HandoverError(
            f"no agent runs, but something else keeps the runtime (process {pid}) running and "
            "would go back to its own release: bring it the release its own way"
        )


def _say_phase(phase: str) -> None:
    _say(_WORDS.get(phase, phase))


def _say(line: str) -> None:
    print(f"edge-agent: {line}", file=sys.stderr, flush=True)  # noqa: T201 - for who waits
