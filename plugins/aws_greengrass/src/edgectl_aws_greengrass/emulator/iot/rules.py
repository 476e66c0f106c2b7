"""Topic rules: which messages they take, and the S3 and republish actions.

Only ``SELECT * FROM '<topic filter>'`` and few substitutions are understood; a rule with anything
else is refused when it is made, so that no rule seems to work. A rule whose role may not write
fails silently, as at AWS; ``failures`` tells here what AWS tells in its logs.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from moto.iot.models import FakeRule

from edgectl_aws_greengrass.emulator.callers import Caller, Callers
from edgectl_aws_greengrass.emulator.greengrass.objects import ArtifactError, Objects
from edgectl_aws_greengrass.emulator.iot.registry import Registry
from edgectl_aws_greengrass.emulator.policy import allows
from edgectl_aws_greengrass.emulator.wire import Params, ServiceError

SERVICE = "iot.amazonaws.com"
MAX_FAILURES = 100

_KNOWN = "SELECT * FROM '<topic filter>'"
_SQL = re.compile(r"\s*SELECT\s+\*\s+FROM\s+'([^']+)'\s*", re.IGNORECASE)
_CALL = re.compile(r"\$\{\s*(\w+)\(\s*(\d*)\s*\)\s*\}")


class Rules:
    """Runs the rules that moto keeps.

    Args:
        registry: Where they are.
        callers: Whether roles trust AWS IoT, and what they may do.
        objects: Where the S3 action writes.
        publish: What the republish action does.
    """

    def __init__(
        self,
        registry: Registry,
        callers: Callers,
        objects: Objects,
        publish: Callable[[str, bytes], None],
    ) -> None:
        self._registry = registry
        self._callers = callers
        self._objects = objects
        self._publish = publish
        self._lock = threading.Lock()
        self.failures: list[str] = []

    def check(self, params: Params, caller: Caller) -> Params:
        """Refuse a rule that is not understood, before moto keeps it.

        Raises:
            ServiceError: ``SqlParseException`` or ``InvalidRequestException``.
        """
        del caller
        payload = params["topicRulePayload"]
        if _SQL.fullmatch(payload["sql"]) is None:
            raise ServiceError(
                "SqlParseException",
                f"the emulator understands only rules of the kind {_KNOWN}, not: {payload['sql']}",
            )
        for action in payload["actions"]:
            kinds = [name for name, value in action.items() if value]
            if kinds not in (["s3"], ["republish"]):
                raise ServiceError(
                    "NotImplemented", f"the emulator has no rule action {', '.join(kinds)}", 501
                )
            for value in (action[kinds[0]].get("key"), action[kinds[0]].get("topic")):
                _fill(value or "", "a/b/c", "check")
            self._check_role(action[kinds[0]]["roleArn"])
        return {}

    def _check_role(self, arn: str) -> None:
        if not self._callers.role_trusts(arn, SERVICE):
            raise ServiceError(
                "InvalidRequestException",
                f"AWS IoT is unable to assume the role '{arn}': it must trust {SERVICE}",
            )

    def take(self, topic: str, payload: bytes, client_id: str) -> None:
        """Give a message to the rules that want it."""
        for rule in list(self._registry.backend.rules.values()):
            match = _SQL.fullmatch(rule.sql)
            if rule.rule_disabled or match is None or not topic_matches(match[1], topic):
                continue
            try:
                self._run(rule, topic, payload, client_id)
            except (ArtifactError, ValueError, ServiceError) as error:
                with self._lock:
                    self.failures.append(f"{rule.rule_name}: {error}")
                    del self.failures[:-MAX_FAILURES]

    def _run(self, rule: FakeRule, topic: str, payload: bytes, client_id: str) -> None:
        json.loads(payload)  # what is not JSON cannot be selected from
        for action in rule.actions:
            if "s3" in action:
                self._to_s3(action["s3"], topic, payload, client_id)
            else:
                self._republish(action["republish"], topic, payload, client_id)

    def _to_s3(self, action: dict[str, Any], topic: str, payload: bytes, client_id: str) -> None:
        key = _fill(action["key"], topic, client_id)
        self._allow(action["roleArn"], "s3:PutObject", f"arn:aws:s3:::{action['bucketName']}/{key}")
        self._objects.put(action["bucketName"], key, payload)

    def _republish(
        self, action: dict[str, Any], topic: str, payload: bytes, client_id: str
    ) -> None:
        target = _fill(action["topic"].replace("$$", "$"), topic, client_id)
        arn = self._registry.thing_arn("").replace(":thing/", f":topic/{target}")
        self._allow(action["roleArn"], "iot:Publish", arn)
        self._publish(target, payload)

    def _allow(self, role_arn: str, action: str, resource: str) -> None:
        policies = self._callers.role_policies(role_arn.rpartition("/")[2])
        if not allows(policies, action, resource):
            raise ValueError(f"the role '{role_arn}' has no {action} on {resource}")


def topic_matches(wanted: str, topic: str) -> bool:
    """Match a topic filter with ``+`` and ``#``."""
    parts, levels = wanted.split("/"), topic.split("/")
    for index, part in enumerate(parts):
        if part == "#":
            return True
        if index >= len(levels) or part not in {"+", levels[index]}:
            return False
    return len(parts) == len(levels)


def _fill(template: str, topic: str, client_id: str) -> str:
    """Put values into a substitution template.

    Raises:
        ServiceError: It has a function that is not known here.
    """
    levels = topic.split("/")

    def value(match: re.Match[str]) -> str:
        name, number = match[1].lower(), match[2]
        if name == "topic":
            place = int(number or 0)
            return (topic if not place else (*levels, *[""] * place)[place - 1]) or "Undefined"
        if name == "timestamp" and not number:
            return str(int(time.time() * 1000))
        if name == "newuuid" and not number:
            return str(uuid.uuid4())
        if name == "clientid" and not number:
            return client_id
        return match[0]

    filled = _CALL.sub(value, template)
    if "${" in filled:
        raise ServiceError(
            "InvalidRequestException", f"the emulator cannot substitute '{template}'"
        )
    return filled
