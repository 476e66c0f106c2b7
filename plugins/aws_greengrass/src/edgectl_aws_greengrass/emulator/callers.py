"""Who signs requests: IAM users and sessions of roles, with their keys and policies.

Users, roles and policies are moto's; this reads them. Sessions come from STS, where moto keeps
them, and from the device credentials endpoint, whose sessions are kept here.
"""

from __future__ import annotations

import json
import secrets
import string
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.iam.exceptions import NotFoundException
from moto.iam.models import IAMBackend, ManagedPolicy, iam_backends
from moto.sts.models import sts_backends

from edgectl.api import Record
from edgectl_aws_greengrass.emulator.policy import Document
from edgectl_aws_greengrass.emulator.sigv4 import Key

PARTITION = "aws"


class Caller(Record, frozen=True, kw_only=True):
    """Somebody whose signature was good.

    Attributes:
        arn: Of the user, or of the assumed role's session.
        policies: All identity policies that hold for it.
    """

    arn: str
    access_key_id: str
    policies: tuple[dict[str, Any], ...]


class Session(Record, frozen=True, kw_only=True):
    """Temporary credentials of a role that a device assumed."""

    access_key_id: str
    secret: str
    token: str
    expires: datetime
    role_arn: str
    name: str


class Callers:
    """The account's access keys.

    Args:
        account: Twelve digits.
    """

    def __init__(self, account: str) -> None:
        self._account = account
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    @property
    def iam(self) -> IAMBackend:
        """The store of users and roles."""
        return iam_backends[self._account][PARTITION]

    def key(self, access_key_id: str) -> Key | None:
        """Return an access key, or None for one that was never given out or is inactive."""
        session = self._sessions.get(access_key_id)
        if session is not None:
            return Key(secret=session.secret, token=session.token, expires=session.expires)
        for role in self._assumed(access_key_id):
            expires = role.expiration.replace(tzinfo=UTC)
            return Key(secret=role.secret_access_key, token=role.session_token, expires=expires)
        for _, found in self._user_keys(access_key_id):
            return Key(secret=found.secret_access_key)
        return None

    def caller(self, access_key_id: str) -> Caller:
        """Return who has a key that ``key`` found, with the policies as they are now."""
        session = self._sessions.get(access_key_id)
        role_arn, name = (session.role_arn, session.name) if session else ("", "")
        for role in self._assumed(access_key_id):
            role_arn, name = role.role_arn, role.session_name
        if role_arn:
            role_name = role_arn.rpartition("/")[2]
            arn = f"arn:aws:sts::{self._account}:assumed-role/{role_name}/{name}"
            policies = self.role_policies(role_name)
        else:
            user = next(user for user, _ in self._user_keys(access_key_id))
            arn, policies = user.arn, self._user_policies(user.name)
        return Caller(arn=arn, access_key_id=access_key_id, policies=tuple(policies))

    def new_session(self, role_arn: str, name: str, seconds: int) -> Session:
        """Give out temporary credentials of a role."""
        alphabet = string.ascii_uppercase + string.digits
        session = Session(
            access_key_id="ASIA" + "".join(secrets.choice(alphabet) for _ in range(16)),
            secret=secrets.token_urlsafe(30),
            token=secrets.token_urlsafe(180),
            expires=datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds),
            role_arn=role_arn,
            name=name,
        )
        with self._lock:
            self._sessions[session.access_key_id] = session
        return session

    def new_user(self, name: str, policy: Document) -> tuple[str, str]:
        """Make a user with one inline policy; return an access key of its."""
        self.iam.create_user("us-east-1", name)
        self.iam.put_user_policy(name, "policy", json.dumps(policy))
        key = self.iam.create_access_key(name)
        return key.access_key_id, key.secret_access_key

    def role_trusts(self, role_arn: str, service: str) -> bool:
        """Say whether a role exists and a service principal may assume it."""
        try:
            role = self.iam.get_role_by_arn(role_arn)
        except NotFoundException:
            return False
        document = role.assume_role_policy_document
        found = _document(document)
        statements = found.get("Statement", [])
        for statement in [statements] if isinstance(statements, dict) else statements:
            principals = (statement.get("Principal") or {}).get("Service", [])
            named = [principals] if isinstance(principals, str) else principals
            if statement.get("Effect") == "Allow" and service in named:
                return True
        return False

    def _assumed(self, access_key_id: str) -> list[Any]:
        roles = sts_backends[self._account][PARTITION].assumed_roles
        return [role for role in roles if role.access_key_id == access_key_id]

    def _user_keys(self, access_key_id: str) -> list[tuple[Any, Any]]:
        return [
            (user, key)
            for user in list(self.iam.users.values())
            for key in user.access_keys
            if key.access_key_id == access_key_id and key.status == "Active"
        ]

    def _user_policies(self, name: str) -> list[dict[str, Any]]:
        user = self.iam.users[name]
        found = [_document(text) for text in user.policies.values()]
        found += [_managed(policy) for policy in user.managed_policies.values()]
        for group in self.iam.get_groups_for_user(name):
            found += [_document(text) for text in group.policies.values()]
            found += [_managed(policy) for policy in group.managed_policies.values()]
        return found

    def role_policies(self, name: str) -> list[dict[str, Any]]:
        """Return the policies of a role, empty for one that does not exist."""
        try:
            role = self.iam.get_role(name)
        except NotFoundException:
            return []
        found = [_document(text) for text in role.policies.values()]
        return found + [_managed(policy) for policy in role.managed_policies.values()]


def _managed(policy: ManagedPolicy) -> dict[str, Any]:
    versions = {version.version_id: version.document for version in policy.versions}
    return _document(versions[policy.default_version_id])


def _document(text: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text) if isinstance(text, str) else dict(text)
    return document
