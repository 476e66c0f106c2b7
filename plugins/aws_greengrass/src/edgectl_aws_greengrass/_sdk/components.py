"""Component versions: made once, never changed, waited for until they can be deployed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from edgectl.api import ConflictError, NotFoundError, ProviderError, Record
from edgectl_aws_greengrass._sdk.account import Account
from edgectl_aws_greengrass.render import MADE_BY

WAIT_S = 120.0
LOOK_S = 0.3
_COMING = frozenset({"REQUESTED", "INITIATED"})


class Made(Record, frozen=True, kw_only=True):
    """A component version that is there.

    Attributes:
        state: DEPLOYABLE, FAILED, …
        problem: What is wrong with it, or "".
    """

    arn: str
    state: str
    tags: dict[str, str] = {}
    problem: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether edgectl made it."""
        return MADE_BY in self.tags


def component_arn(account: Account, name: str, version: str) -> str:
    """Return the ARN of a component version of this account."""
    return account.arn("greengrass", f"components:{name}:versions:{version}")


def find(account: Account, name: str, version: str) -> Made | None:
    """Return a component version, or None."""
    arn = component_arn(account, name, version)
    what = f"look for component '{name}' {version}"
    found = account.find("greengrassv2", "DescribeComponent", what, arn=arn)
    if found is None:
        return None
    status = found.get("status", {})
    errors: Mapping[str, str] = status.get("errors") or {}
    problems = [str(status.get("message") or ""), *(f"{k}: {v}" for k, v in errors.items())]
    return Made(
        arn=arn,
        state=str(status.get("componentState", "")),
        tags=dict(found.get("tags") or {}),
        problem="; ".join(problem for problem in problems if problem),
    )


def create(
    account: Account, name: str, version: str, recipe: bytes, tags: Mapping[str, str]
) -> Made:
    """Make a component version and wait until it can be deployed.

    Raises:
        ConflictError: Somebody else made it at the same moment.
        ProviderError: Greengrass cannot use the recipe, or takes too long.
    """
    what = f"create component '{name}' {version}"
    account.call(
        "greengrassv2", "CreateComponentVersion", what, inlineRecipe=recipe, tags=dict(tags)
    )
    return wait(account, name, version)


def wait(account: Account, name: str, version: str) -> Made:
    """Wait until a component version can be deployed.

    Raises:
        NotFoundError: There is none.
        ProviderError: Greengrass cannot use it, or takes too long.
    """
    deadline = time.monotonic() + WAIT_S
    while True:
        made = find(account, name, version)
        if made is None:
            raise NotFoundError(f"there is no component '{name}' {version}")
        if made.state == "DEPLOYABLE":
            return made
        if made.state not in _COMING:
            raise _unusable(name, version, made)
        if time.monotonic() > deadline:
            raise ProviderError(
                f"component '{name}' {version} is {made.state} after {WAIT_S:g} s",
                hint="run the command again: it goes on waiting",
                vendor_code=made.state,
            )
        time.sleep(LOOK_S)


def discard_failed(account: Account, name: str, version: str, made: Made) -> None:
    """Delete a version of ours that never became one, so that it can be made again.

    Raises:
        ConflictError: It is not ours.
    """
    check_ours(name, version, made)
    what = f"delete the failed component '{name}' {version}"
    account.call("greengrassv2", "DeleteComponent", what, arn=made.arn)


def check_ours(name: str, version: str, made: Made) -> None:
    """Check that edgectl made a component.

    Raises:
        ConflictError: Somebody else did.
    """
    if not made.is_ours:
        raise ConflictError(
            f"component '{name}' {version} exists, and edgectl did not make it",
            hint="set another `publisher` in providers.aws, or rename the project",
        )


def _unusable(name: str, version: str, made: Made) -> ProviderError:
    return ProviderError(
        f"component '{name}' {version} is {made.state}: {made.problem or 'no reason given'}",
        hint="the bucket has to be in the same Region, and readable for you",
        vendor_code=made.state,
    )


def tag_problem(made: Made, wanted: Mapping[str, str], keys: tuple[str, ...]) -> str:
    """Return what is different about a version that is there, or ""."""
    for key in keys:
        there: Any = made.tags.get(key, "")
        if there != wanted[key]:
            return f"{key.removeprefix('edgectl:')} '{there}'"
    return ""
