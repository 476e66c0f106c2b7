"""Settings, selectors, refusals, the pace of calls, and what a device gets when it is added."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edgectl.api import (
    AuthError,
    ConflictError,
    EnrollRequest,
    LimitError,
    NotFoundError,
    ProjectError,
    ProviderError,
    Target,
    ThrottledError,
    UnreachableError,
    parse_device_config,
)
from edgectl_aws_greengrass import devicefiles as df
from edgectl_aws_greengrass._sdk.enroll import amazon_root
from edgectl_aws_greengrass._sdk.pace import WINDOW_S, Pace
from edgectl_aws_greengrass.config import AwsConfig
from edgectl_aws_greengrass.errors import Refusal, from_refusal
from edgectl_aws_greengrass.limits import CALLS_PER_SECOND, check_document, needs_fetching
from edgectl_aws_greengrass.selector import Selector, read_selector

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bucket": "Not_A_Bucket"}, "no name of an S3 bucket"),
        ({"bucket": "models", "publisher": "aws.greengrass.mine"}, "publisher"),
        ({"bucket": "models", "prefix": "a//b"}, "prefix"),
        ({"bucket": "models", "prefix": "/a"}, "prefix"),
        ({"bucket": "models", "unreachable_after_s": 0}, "above 0"),
        ({"bucket": "models", "job": {"maximum_per_minute": 1001}}, "1 to 1000"),
        ({"bucket": "models", "job": {"in_progress_timeout_min": 0}}, "1 to 10080"),
        ({"bucket": "models", "secret_key": "x"}, "secret_key"),
    ],
)
def test_wrong_settings_are_refused_by_name(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(settings, AwsConfig)


def target(**selector: Any) -> Target:
    return Target(name="lots", provider="aws", selector=selector)


def test_a_selector_names_a_group_or_things() -> None:
    assert read_selector(target(thing_group="dc")) == Selector(group="dc")
    assert read_selector(target(thing_group="dc", query=" a:1 ")).query == "a:1"
    assert read_selector(target(things=["b", "a", "b"])).things == ("b", "a")


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ({}, "either `thing_group` or `things`"),
        ({"thing_group": "a", "things": ["b"]}, "either `thing_group` or `things`"),
        ({"tags": {"a": "b"}}, "unknown key 'tags'"),
        ({"thing_group": "a b"}, "thing_group: expected"),
        ({"thing_group": ["a"]}, "thing_group: expected"),
        ({"things": []}, "things: expected"),
        ({"things": ["a", "b/c"]}, "'b/c'"),
        ({"things": ["a"], "query": "x:1"}, "narrows a `thing_group` only"),
        ({"things": [f"t{n}" for n in range(101)]}, "at most 100"),
    ],
)
def test_a_selector_that_cannot_be_honoured_is_refused(selector: Any, said: str) -> None:
    with pytest.raises(ProjectError, match=said):
        read_selector(target(**selector))


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("ExpiredTokenException", 403, AuthError),
        ("UnrecognizedClientException", 403, AuthError),
        ("RequestTimeTooSkewed", 403, AuthError),
        ("NoSuchBucket", 404, NotFoundError),
        ("PermanentRedirect", 301, NotFoundError),
        ("ThrottlingException", 429, ThrottledError),
        ("SlowDown", 503, ThrottledError),
        ("ConflictException", 409, ConflictError),
        ("ServiceQuotaExceededException", 402, LimitError),
        ("InternalServerException", 500, UnreachableError),
        ("SomethingNew", 503, UnreachableError),
        ("SomethingNew", 400, ProviderError),
    ],
)
def test_a_refusal_keeps_the_vendors_code(
    code: str, status: int, kind: type[ProviderError]
) -> None:
    error = from_refusal("look", Refusal(code=code, status=status, message="It is so."))
    assert type(error) is kind
    assert error.vendor_code == code
    assert error.message.startswith("cannot look: ")
    assert error.hint or kind in {ConflictError, ProviderError}


@pytest.mark.parametrize(
    "said",
    [
        "User: x is not authorized to perform: greengrass:CreateDeployment on resource: *",
        "",
    ],
)
def test_a_denied_action_is_named_exactly(said: str) -> None:
    refusal = Refusal(
        code="AccessDeniedException",
        status=403,
        message=said,
        action="greengrass:CreateDeployment",
    )
    error = from_refusal("give release 7 to 'dc'", refusal)
    assert isinstance(error, AuthError)
    assert (
        error.message == "cannot give release 7 to 'dc': greengrass:CreateDeployment is not allowed"
    )


def test_a_wrong_clock_is_told_as_such() -> None:
    said = "Signature expired: 20261122T010000Z is now earlier than 20261122T020000Z"
    error = from_refusal("look", Refusal(code="InvalidSignatureException", message=said))
    assert "clock" in error.hint


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@given(
    calls=st.lists(
        st.tuples(
            st.sampled_from(["CreateComponentVersion", "ListDeployments"]), st.floats(0, 0.3)
        ),
        max_size=120,
    )
)
def test_no_second_sees_more_calls_than_are_allowed(calls: list[tuple[str, float]]) -> None:
    clock = Clock()
    pace = Pace(clock, clock.sleep)
    made: list[tuple[float, str]] = []
    for operation, pause in calls:
        clock.now += pause
        pace.wait("greengrassv2", operation)
        made.append((clock.now, operation))
    for start, _ in made:
        window = [operation for at, operation in made if start <= at < start + 1.0]
        assert len(window) <= CALLS_PER_SECOND
        assert window.count("CreateComponentVersion") <= 1
    assert WINDOW_S > 1.0


def test_a_document_beyond_the_limit_is_refused_with_the_limit() -> None:
    with pytest.raises(LimitError, match="at most 10485760"):
        check_document("dc", b"x" * (10 * 1024 * 1024 + 1))
    assert needs_fetching("thing", b"x" * 8000)
    assert not needs_fetching("thinggroup", b"x" * 8000)


CONFIG = AwsConfig(bucket="models", region="us-east-1")
PLACE = df.Place(
    region="us-east-1",
    data_endpoint="abc-ats.iot.us-east-1.amazonaws.com",
    credential_endpoint="abc.credentials.iot.us-east-1.amazonaws.com",
)
REQUEST = EnrollRequest(
    target=target(thing_group="dc"),
    application="plates",
    name="gate-1",
    hardware="x86-64-cpu",
    publisher_key="-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----\n",
)


def test_the_devices_policy_is_the_golden_one() -> None:
    alias = "arn:aws:iot:us-east-1:123456789012:rolealias/Greengrass"
    policy = json.loads(df.device_policy("arn:aws:iot:us-east-1:123456789012", alias))
    assert policy == json.loads((GOLDEN / "policy.json").read_text())


def test_the_devices_policy_is_not_longer_than_iot_takes() -> None:
    longest = f"arn:aws-us-gov:iot:us-gov-west-1:123456789012:rolealias/{'x' * 128}"
    assert len(df.device_policy("arn:aws-us-gov:iot:us-gov-west-1:123456789012", longest)) < 2048


def test_the_devices_policy_speaks_of_nobody_else() -> None:
    policy = json.loads(df.device_policy("arn:aws:iot:us-east-1:123456789012", "arn:alias"))
    for statement in policy["Statement"]:
        if "greengrass:" in str(statement["Action"]):
            continue
        for resource in statement["Resource"]:
            assert "${iot:Connection.Thing.ThingName}" in resource or resource == "arn:alias"


def test_the_nucleus_configurations_are_the_golden_ones() -> None:
    config = msgspec.structs.replace(CONFIG, posix_user="edge:edge")
    written = df.nucleus_config(config, PLACE, "gate-1") + "---\n"
    written += df.lite_config(config, PLACE, "gate-1")
    assert written == (GOLDEN / "nucleus.yaml").read_text()


def test_ports_stand_in_the_configuration_where_they_are_not_the_usual_ones() -> None:
    place = msgspec.structs.replace(PLACE, data_port=18443, mqtt_port=18883)
    document = yaml.safe_load(df.nucleus_config(CONFIG, place, "gate-1"))
    settings = document["services"]["aws.greengrass.Nucleus"]["configuration"]
    assert (settings["greengrassDataPlanePort"], settings["mqtt"]) == (18443, {"port": 18883})


def test_the_runtimes_configuration_trusts_the_publisher_and_tells_through_the_nucleus() -> None:
    config = parse_device_config(df.device_config(CONFIG, REQUEST).to_toml())
    assert config.trust.publishers == (REQUEST.publisher_key,)
    assert config.telemetry.url == "greengrass-ipc:edgectl/{thing}/plates/telemetry"
    assert config.device.state_dir == "/var/lib/edgectl/gate-1"
    assert config.hub is None


def test_amazons_root_certificate_comes_from_the_sdk() -> None:
    assert amazon_root().startswith("-----BEGIN CERTIFICATE-----")


def test_nucleus_lite_keeps_its_key_from_components() -> None:
    document = yaml.safe_load(df.lite_config(CONFIG, PLACE, "gate-1"))
    settings = document["services"]["aws.greengrass.NucleusLite"]["configuration"]
    assert settings["runWithDefault"]["posixUser"] == "gg_component:gg_component"
    lite = next(note for note in df.install_notes(CONFIG, REQUEST) if "nucleus lite" in note)
    assert "private.pem.key belong to ggcore:ggcore" in lite
    assert "/var/lib/edgectl/gate-1 to gg_component:gg_component" in lite
