"""The agent's own socket: how a bundle comes from whoever stands at the device to the agent.

The one who asks opens the file and hands over the open descriptor (SCM_RIGHTS), so a service that
sees neither home folders nor the stick's mount reads it all the same, and may do so on the asker's
right to read it. Only the agent's own user, and root, can reach the socket; what comes through it
is verified like anything from a hub.

Messages are JSON, one a packet (SOCK_SEQPACKET keeps them apart): a question with the descriptor,
then phases as they come, last the answer. Whoever asks may go away; the import goes on.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import msgspec

from edge_components.agent.importing import Answer
from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import decode_json

_LOG = logging.getLogger(__name__)
_MAX_MESSAGE = 64 << 10
_MAX_SOCKET_PATH = 100
_PATIENCE_S = 5.0
_AT_ONCE = 4


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked of the agent.

    Attributes:
        device: Which device is meant; another one's agent refuses.
        name: The file's name, for messages.
    """

    device: str
    name: str


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent says: a phase, or at last an answer or why there is none."""

    phase: str = ""
    answer: Answer | None = None
    refusal: str = ""


class HandoverError(Exception):
    """The agent did not take the bundle, or was gone before it had an answer."""


Import = Callable[[int, str, Callable[[str], None]], Answer]


class Reception:
    """Takes bundles on a socket; each one in a thread of its own.

    Args:
        path: The socket; what an agent before left there is replaced.
        device: This device's id.
        take: Imports: an open descriptor, which it closes, the file's name, and who is told of
            phases.
    """

    def __init__(self, path: Path, device: str, take: Import) -> None:
        self._path = path
        self._device = device
        self._take = take
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def start(self) -> None:
        """Begin to listen. The caller holds the store's lock, so no other agent listens here.

        Raises:
            OSError: The socket cannot be made.
        """
        self._path.unlink(missing_ok=True)
        with _address(self._path) as address:
            self._socket.bind(address)
        # Nobody can connect before listen, so there is no instant at which others may.
        self._path.chmod(0o600)
        self._socket.listen(_AT_ONCE)
        threading.Thread(target=self._serve, name="reception", daemon=True).start()

    def stop(self) -> None:
        """Take nothing more."""
        self._path.unlink(missing_ok=True)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _address_of = self._socket.accept()
            except OSError:
                return
            if not self._room.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(
                target=self._meet, args=(connection,), name="import", daemon=True
            ).start()

    def _meet(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(_PATIENCE_S)
                self._answer(_Talk(connection))
        except Exception:  # noqa: BLE001 - whatever one brings, the next one is received
            _LOG.exception("an import came to no end")
        finally:
            self._room.release()

    def _answer(self, talk: _Talk) -> None:
        try:
            question, descriptor = _receive(talk.connection)
        except (OSError, ContractError) as exc:
            talk.say(Word(refusal=f"the question cannot be read: {exc}"))
            return
        if question.device != self._device:
            os.close(descriptor)
            talk.say(Word(refusal=f"this is the agent of device '{self._device}'"))
            return
        _LOG.info("importing the bundle '%s'", question.name)
        answer = self._take(descriptor, question.name, lambda phase: talk.say(Word(phase=phase)))
        talk.say(Word(answer=answer))


class _Talk:
    """One visitor, who may go away or stop listening at any time."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._gone = False

    def say(self, word: Word) -> None:
        if self._gone:
            return
        try:
            self.connection.send(msgspec.json.encode(word))
        except OSError as exc:
            self._gone = True
            _LOG.info("whoever asked for the import does not listen any more: %s", exc)


def hand_over(
    path: Path, question: Question, descriptor: int, say: Callable[[str], None]
) -> Answer | None:
    """Hand a bundle to the agent and wait for its answer; None if no agent listens.

    Args:
        path: The agent's socket.
        question: What is asked.
        descriptor: The open file; the caller closes it.
        say: Told of each phase.

    Raises:
        HandoverError: The agent refuses to look at it, or ended before the import did.
    """
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as channel:
        try:
            with _address(path) as address:
                channel.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError as exc:
            raise HandoverError(f"the agent at '{path}' cannot be asked: {exc.strerror}") from exc
        try:
            socket.send_fds(channel, [msgspec.json.encode(question)], [descriptor])
            while message := channel.recv(_MAX_MESSAGE):
                word = msgspec.json.decode(message, type=Word)
                if word.answer is not None:
                    return word.answer
                if word.refusal:
                    raise HandoverError(f"the agent refuses: {word.refusal}")
                say(word.phase)
        except (OSError, msgspec.DecodeError) as exc:
            raise HandoverError(f"the agent at '{path}' does not answer: {exc}") from exc
    raise HandoverError("the agent ended before the import did; the same command goes on")


def _receive(connection: socket.socket) -> tuple[Question, int]:
    message, descriptors, flags, _address_of = socket.recv_fds(
        connection, _MAX_MESSAGE, 1, socket.MSG_CMSG_CLOEXEC
    )
    try:
        whole = not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        question = _read_question(message, whole=whole and len(descriptors) == 1)
    except ContractError:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return question, descriptors[0]


def _read_question(message: bytes, *, whole: bool) -> Question:
    if not whole:
        raise ContractError("bad-question", "it does not come with one open file")
    return decode_json(message, Question, what="it", max_bytes=_MAX_MESSAGE)


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """Give the socket's address; its path may be longer than the kernel's limit."""
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
