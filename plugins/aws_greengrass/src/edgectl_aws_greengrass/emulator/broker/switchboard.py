"""Decides which sessions a message goes to. Used by the server's event loop only."""

from __future__ import annotations

from collections.abc import Callable

from edgectl.emulation.mqtt import Message, Session, topics

MayReceive = Callable[[Session, str], bool]


class Switchboard:
    """All sessions, and the messages that are retained."""

    def __init__(self, may_receive: MayReceive) -> None:
        self.sessions: dict[str, Session] = {}
        self.retained: dict[str, Message] = {}
        self._may_receive = may_receive
        self._exact: dict[str, set[Session]] = {}
        self._wild: dict[str, set[Session]] = {}

    def subscribe(self, session: Session, name: str, qos: int) -> None:
        """Add a subscription; what is retained for it is sent."""
        session.subscriptions[name] = qos
        self._index(name).setdefault(name, set()).add(session)
        for topic, message in list(self.retained.items()):
            if topics.matches(name, topic) and self._may_receive(session, topic):
                session.deliver(message, qos)

    def unsubscribe(self, session: Session, name: str) -> bool:
        """Take a subscription away; return whether there was one."""
        holders = self._index(name).get(name, set())
        holders.discard(session)
        if not holders:
            self._index(name).pop(name, None)
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
        for name, holders in self._wild.items():
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

    def _index(self, name: str) -> dict[str, set[Session]]:
        return self._wild if topics.has_wildcard(name) else self._exact
