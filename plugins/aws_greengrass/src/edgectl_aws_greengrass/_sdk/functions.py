"""Lambda functions of a pipeline as Greengrass components: one for each numbered version.

A version of a function never changes, and neither does a component version, so the one stands
for the other. Its event source is the local topic that the runtime gives answers to. Releases
depend on it, so Greengrass brings it along; it is for the classic nucleus only.
"""

from __future__ import annotations

from typing import Any

from edgectl.api import ConflictError, LambdaSink, LimitError, Pipeline
from edgectl_aws_greengrass._sdk import components
from edgectl_aws_greengrass._sdk.account import Account
from edgectl_aws_greengrass.recipe import ARCHITECTURES, function_name, function_version
from edgectl_aws_greengrass.render import MADE_BY

FUNCTION_TAG = "edgectl:function"


def functions_of(pipeline: Pipeline | None) -> tuple[LambdaSink, ...]:
    """Return the functions that get a pipeline's answers, each once.

    Raises:
        LimitError: One is named in two versions: a device runs one version of a component.
    """
    found: dict[str, LambdaSink] = {}
    for sink in () if pipeline is None else pipeline.sinks:
        if not isinstance(sink, LambdaSink):
            continue
        if found.setdefault(sink.function, sink).arn != sink.arn:
            raise LimitError(
                f"the pipeline names the Lambda function '{sink.function}' twice: "
                f"'{found[sink.function].arn}' and '{sink.arn}'",
                hint="a device runs one version of a function: name one",
            )
    return tuple(found.values())


def ensure(account: Account, sink: LambdaSink) -> None:
    """See that the component of a function's version is there.

    Raises:
        ConflictError: A component of that name is not ours, or of another function.
    """
    name, version = function_name(account.config.publisher, sink), function_version(sink)
    made = components.find(account, name, version)
    if made is not None and made.state == "FAILED":
        components.discard_failed(account, name, version, made)
        made = None
    if made is None:
        account.call(
            "greengrassv2",
            "CreateComponentVersion",
            f"make component '{name}' {version} of '{sink.arn}'",
            lambdaFunction=source(name, version, sink),
            tags={MADE_BY: "edgectl", FUNCTION_TAG: sink.arn},
        )
        made = components.wait(account, name, version)
    components.check_ours(name, version, made)
    if made.tags.get(FUNCTION_TAG) != sink.arn:
        raise ConflictError(
            f"component '{name}' {version} is of '{made.tags.get(FUNCTION_TAG, '')}', "
            f"not of '{sink.arn}'",
            hint="functions of two accounts or Regions need two `publisher`s",
        )
    if made.state != "DEPLOYABLE":
        components.wait(account, name, version)


def source(name: str, version: str, sink: LambdaSink) -> dict[str, Any]:
    """Return the component in the words of ``CreateComponentVersion``.

    The function is started with the nucleus and kept (pinned), so that the first answer does not
    wait for it, and runs without a container of Greengrass's own, which not every kernel has.
    """
    return {
        "lambdaArn": sink.arn,
        "componentName": name,
        "componentVersion": version,
        "componentPlatforms": [
            {
                "name": f"linux {architecture}",
                "attributes": {"os": "linux", "architecture": architecture},
            }
            for architecture in ARCHITECTURES
        ],
        "componentLambdaParameters": {
            "eventSources": [{"topic": sink.topic, "type": "PUB_SUB"}],
            "inputPayloadEncodingType": "json",
            "maxQueueSize": sink.max_waiting,
            "pinned": True,
            "linuxProcessParams": {"isolationMode": "NoContainer"},
        },
    }
