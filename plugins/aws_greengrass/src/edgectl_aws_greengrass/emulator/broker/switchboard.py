"""Decides which sessions a message goes to. Used by the server's event loop only."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from edgectl.emulation.mqtt import Message, Session, topics

MayReceive = Callable[[Session, str], bool]


class Switchboard:
    """All sessions, and the messages that are retained."""

    def __init__(self, may_receive: MayReceive) -> None:
        self.sessions: dict[str, Session] = {}
        self.retained: dict[str, Message] = {}
        self._may_receive = may_receive
        self._exact: dict[str, set[Session]] = {}
        self._wild: dict[tuple[str, ...], dict[str, set[Session]]] = {}

    def subscribe(self, session: Session, name: str, qos: int) -> None:
        """Add a subscription; what is retained for it is sent."""
        session.subscriptions[name] = qos
        if topics.has_wildcard(name):
            holders = self._wild.setdefault(_stem(name), {}).setdefault(name, set())
        else:
            holders = self._exact.setdefault(name, set())
        holders.add(session)
        for topic, message in list(self.retained.items()):
            if topics.matches(name, topic) and self._may_receive(session, topic):
                session.deliver(message, qos)

    def unsubscribe(self, session: Session, name: str) -> bool:
        """Take a subscription away; return whether there was one."""
        stem = _stem(name)
        index = self._wild.get(stem, {}) if topics.has_wildcard(name) else self._exact
        holders = index.get(name, set())
        holders.discard(session)
        if not holders:
            index.pop(name, None)
        if stem in self._wild and not self._wild[stem]:
            del self._wild[stem]
        return session.subscriptions.pop(name, None) is not None

    def drop(self, session: Session) -> None:
        """Forget a session."""
        for name in list(session.subscriptions):
            self.unsubscribe(session, name)
        if self.sessions.get(session.client_id) is session:
            del self.sessions[session.client_id]

    def route(self, message: Message) -> None:
        """Give a message to everybody who subscribed to its topic and may receive it, once each."""
        wanted: dict[Session, int] = {
            session: session.subscriptions[message.topic]
            for session in self._exact.get(message.topic, ())
        }
        for name, holders in self._candidates(message.topic):
            if topics.matches(name, message.topic):
                for session in holders:
                    qos = session.subscriptions[name]
                    wanted[session] = max(wanted.get(session, 0), qos)
        for session, qos in wanted.items():
            if self._may_receive(session, message.topic):
                session.deliver(message, qos)

    def expire(self, now: float) -> None:
        """Forget sessions whose time is over."""
        for session in list(self.sessions.values()):
            if session.expires_at is not None and session.expires_at <= now:
                self.drop(session)

    def _candidates(self, topic: str) -> Iterator[tuple[str, set[Session]]]:
        """Yield the filters with wildcards that begin as a topic does."""
        levels = tuple(topic.split("/"))
        for length in range(len(levels) + 1):
            yield from self._wild.get(levels[:length], {}).items()


def _stem(name: str) -> tuple[str, ...]:
    """Return a filter's levels before its first wildcard; each device has filters of its own."""
    return tuple(itertools.takewhile(lambda level: level not in {"+", "#"}, name.split("/")))
