"""Where answers go: the pipeline's sinks."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from edge_components.contract.condition import parse_condition
from edge_components.contract.pipeline_parts import Count, Name, Networked, Part, Seconds

_MAX_SECONDS = 86_400.0
WhenFull = Literal["block", "drop_oldest"]


class DirectorySink(Part, frozen=True, kw_only=True, tag_field="kind", tag="directory"):
    """Answers as one JSON file per reading, written whole or not at all.

    Attributes:
        path: The folder on the device.
        max_bytes: Of all answers; the oldest go first.
    """

    path: str
    max_bytes: int = 64 << 20


class HttpSink(Networked, frozen=True, kw_only=True, tag_field="kind", tag="http"):
    """Answers as a ``POST`` of JSON each, tried again while the receiver is away.

    Attributes:
        timeout_s: Longest wait for the receiver, to connect and to answer.
        max_tries: An answer that failed so often is given up, and counted.
        retry_s: Wait before trying again, doubled up to ``max_retry_s``.
        max_waiting: Answers that may wait.
        when_full: What happens then: ``block`` the pipeline, or ``drop_oldest``.
    """

    timeout_s: Seconds = 5.0
    max_tries: Annotated[int, Meta(ge=1, le=1000)] = 8
    retry_s: Seconds = 0.5
    max_retry_s: Seconds = 30.0
    max_waiting: Count = 1000
    when_full: WhenFull = "drop_oldest"


class MqttSink(Networked, frozen=True, kw_only=True, tag_field="kind", tag="mqtt"):
    """Answers as messages to an MQTT 5 broker.

    Attributes:
        topic: Where to publish.
        qos: 1 for at least once, 0 for at most once.
        retain: Whether the broker keeps the last answer for those who come later.
        client_id: Who this is to the broker; by default the broker gives a name.
        max_waiting: Answers that may wait for the broker.
        when_full: What happens then: ``block`` the pipeline, or ``drop_oldest``.
    """

    topic: Annotated[str, Meta(pattern="^[^+#\\x00]{1,1024}$")]
    qos: Literal[0, 1] = 1
    retain: bool = False
    client_id: str = ""
    max_waiting: Count = 1000
    when_full: WhenFull = "drop_oldest"


class StdoutSink(Part, frozen=True, kw_only=True, tag_field="kind", tag="stdout"):
    """Answers as one line of JSON each on standard output."""


class LambdaSink(Part, frozen=True, kw_only=True, tag_field="kind", tag="lambda"):
    """Answers as events of an AWS Lambda function on the same device (AWS IoT Greengrass).

    The function is a component beside the runtime, which gets each answer from its own topic of
    the nucleus's local messages. Nothing leaves the device.

    Attributes:
        arn: The function's numbered version; an alias or ``$LATEST`` would not stay what it was.
        max_waiting: Answers that may wait for the nucleus.
        when_full: What happens then: ``block`` the pipeline, or ``drop_oldest``.
    """

    arn: Annotated[
        str,
        Meta(
            pattern=r"^arn:aws[a-z-]*:lambda:[a-z0-9-]+:[0-9]{12}:function:"
            r"[A-Za-z0-9_-]{1,64}:[1-9][0-9]{0,9}$(?!\n)"
        ),
    ]
    max_waiting: Count = 1000
    when_full: WhenFull = "drop_oldest"

    @property
    def function(self) -> str:
        """The function's name."""
        return self.arn.split(":")[6]

    @property
    def number(self) -> int:
        """The function's version."""
        return int(self.arn.split(":")[7])

    @property
    def topic(self) -> str:
        """The local topic that brings answers to the function."""
        return f"edgectl/lambda/{self.function}"


class ModuleSink(Part, frozen=True, kw_only=True, tag_field="kind", tag="module"):
    """Answers as messages to another module on the same device (Azure IoT Edge).

    The runtime's module gives each answer to an output of its own, which a route of the deployment
    takes to the other module's input; an Azure Function is such a module.

    Attributes:
        module: The name that the provider's settings have for the other module.
        max_waiting: Answers that may wait for edgeHub.
        when_full: What happens then: ``block`` the pipeline, or ``drop_oldest``.
    """

    module: Name
    max_waiting: Count = 1000
    when_full: WhenFull = "drop_oldest"

    @property
    def output(self) -> str:
        """The output of the runtime's module that brings answers there."""
        return f"answers-{self.module}"


class AlarmSink(Part, frozen=True, kw_only=True, tag_field="kind", tag="alarm"):
    """Something that happens when answers fulfil a condition; stateful.

    It is raised when ``votes[0]`` of the last ``votes[1]`` answers fulfil ``when``, and stays
    raised until as many fulfil ``clear``. Between the two nothing is raised again.

    Attributes:
        name: Of the alarm, in events and messages.
        when: The condition, such as ``label == "crack" and score >= 0.8``.
        clear: The condition that ends it; by default that ``when`` does not hold.
        votes: How many of how many answers.
        min_interval_s: Least time between two alarms; those between are counted only.
        per_key: Whether each key (sensor, topic) has an alarm of its own.
        command: Name of a command in the device's file (``pipeline.commands``) to run.
        clear_command: The same for its end.
        command_timeout_s: A command that takes longer is killed.
        post: A ``POST`` of the alarm, and of its end.
        publish: An MQTT message of the alarm, and of its end.
    """

    name: Name
    when: str
    clear: str | None = None
    votes: tuple[Annotated[int, Meta(ge=1, le=1000)], Annotated[int, Meta(ge=1, le=1000)]] = (1, 1)
    min_interval_s: Annotated[float, Meta(ge=0, le=_MAX_SECONDS)] = 0.0
    per_key: bool = False
    command: Name | None = None
    clear_command: Name | None = None
    command_timeout_s: Seconds = 30.0
    post: HttpSink | None = None
    publish: MqttSink | None = None

    def __post_init__(self) -> None:
        """Refuse conditions that cannot be read.

        Raises:
            ValueError: With what is wrong.
        """
        parse_condition(self.when)
        if self.clear is not None:
            parse_condition(self.clear)
        if self.votes[0] > self.votes[1]:
            raise ValueError(f"asks for {self.votes[0]} votes of {self.votes[1]}")


Sink = DirectorySink | HttpSink | MqttSink | StdoutSink | LambdaSink | ModuleSink | AlarmSink
