"""What `edgectl deploy` says when Azure refuses it: a sentence, the hub's code and a way out.

The command and the hub are processes of their own. What only the plugin decides is tested with
it; here it is what a user reads, the exit code, and that a rerun finishes the job. The tests share
a hub, so each leaves it as it was or further on.
"""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

# Processes that start slowly on a slow machine; what the plugin decides is tested with it.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DEPLOY = ("deploy", "--poll", "0.2")
ON_ITS_WAY = "hub.PutConfiguration"
TWICE = {"EDGECTL_AZURE_ATTEMPTS": "2"}  # of seven, which take a minute where nothing answers
PROGRESS = re.compile(r" *[0-9.]+s .*")
CONNECTION = "IOTHUB_CONNECTION_STRING"
DEVICES = "cannot list the devices of target 'all'"


def refusal(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what a refused command said besides its progress, line by line."""
    assert (done.returncode, done.stdout) == (1, ""), (done.returncode, done.stdout, done.stderr)
    return [line for line in done.stderr.splitlines() if not PROGRESS.fullmatch(line)]


@pytest.fixture
def setting(crowd: Any) -> Iterator[Callable[[str, str], None]]:
    """Change a word of the project file for one test."""
    file = crowd.folder / "edgectl.yaml"
    before = file.read_text()

    def change(old: str, new: str) -> None:
        assert old in before
        file.write_text(before.replace(old, new))

    yield change
    file.write_text(before)


@pytest.fixture
def fault(crowd: Any) -> Iterator[Callable[..., None]]:
    """Have the hub fail for one test."""

    def fail(operation: str, code: str = "", **more: Any) -> None:
        crowd.steer("POST", "faults", operation=operation, code=code, **more)

    yield fail
    crowd.steer("DELETE", "faults")


def test_without_credentials_a_user_is_told_both_ways_to_log_in(crowd: Any) -> None:
    none = dict.fromkeys([name for name in crowd.env if name.startswith(("IOTHUB", "AZURE_"))], "")
    # Azure's own machines have an address that answers; anywhere else it is waited for.
    none |= {"HOME": str(crowd.folder), "AZURE_TOKEN_CREDENTIALS": "dev"}
    said = refusal(crowd.attempt(*DEPLOY, env=none))
    assert ": there are no usable Azure credentials (" in said[0]
    assert said[1] == "  code: CredentialUnavailable"
    assert said[2] == (
        "  hint: set IOTHUB_CONNECTION_STRING, or run `az login` as somebody with a role on the "
        "hub; `edgectl doctor` checks"
    )


def test_a_login_without_a_connection_string_does_as_well(
    crowd: Any, setting: Callable[[str, str], None]
) -> None:
    host = crowd.control.split("/")[2]
    setting("iot_hub: edgectl-hub", f"iot_hub: edgectl-hub\n    host: {host}")
    assert "4 devices" in crowd.attempt("plan", env={"IOTHUB_CONNECTION_STRING": ""}).stdout


def test_a_role_without_the_action_is_told_with_the_action(
    crowd: Any, setting: Callable[[str, str], None]
) -> None:
    host = crowd.control.split("/")[2]
    setting("iot_hub: edgectl-hub", f"iot_hub: edgectl-hub\n    host: {host}")
    reader = crowd.steer("POST", "clients", roles=["IoT Hub Data Reader"])
    said = refusal(crowd.attempt(*DEPLOY, env={**reader, "IOTHUB_CONNECTION_STRING": ""}))
    action = "Microsoft.Devices/IotHubs/configurations/testQueries/action"
    assert said[0].endswith(f"{action} is not allowed")
    assert said[1] == "  code: IotHubUnauthorizedAccess"
    assert "IoT Hub Data Contributor" in said[2]


def test_a_policy_without_the_right_is_told_with_the_right(crowd: Any) -> None:
    policies = crowd.steer("GET", "policies")
    env = {"IOTHUB_CONNECTION_STRING": policies["registryRead"]}
    said = refusal(crowd.attempt(*DEPLOY, env=env))
    assert re.search(r"the policy 'registryRead' does not have \w+$", said[0]), said
    assert said[1] == "  code: IotHubUnauthorizedAccess"


def test_a_key_that_is_not_the_hubs_is_told_as_such(crowd: Any) -> None:
    wrong = re.sub("SharedAccessKey=.*", "SharedAccessKey=bm8=", crowd.env[CONNECTION])
    said = refusal(crowd.attempt(*DEPLOY, env={CONNECTION: wrong}))
    assert said[0].startswith("error: cannot ")
    assert said[0].endswith(": the hub does not take the key of its policy 'iothubowner'")


def test_a_connection_string_of_another_hub_is_refused_before_anything_is_sent(
    crowd: Any,
) -> None:
    other = "HostName=other.azure-devices.net;SharedAccessKeyName=a;SharedAccessKey=bm8="
    said = refusal(crowd.attempt(*DEPLOY, env={CONNECTION: other}))
    assert said[0] == (
        "error: IOTHUB_CONNECTION_STRING is of hub 'other', `iot_hub` of providers.azure is "
        "'edgectl-hub'"
    )


def test_an_expired_login_is_told_to_log_in_again(crowd: Any, fault: Callable[..., None]) -> None:
    words = "The specified SAS token is expired"
    fault("hub.QueryTwins", "IotHubUnauthorizedAccess", message=words, status=401, times=None)
    assert refusal(crowd.attempt(*DEPLOY)) == [
        f"error: {DEVICES}: {words}",
        "  code: IotHubUnauthorizedAccess",
        "  hint: log in again (`az login`), then run the command again: it goes on",
    ]


def test_a_clock_that_is_off_is_told_as_such(crowd: Any) -> None:
    crowd.steer("PUT", "clock", ahead_s=7200)
    try:
        said = refusal(crowd.attempt(*DEPLOY))
    finally:
        crowd.steer("PUT", "clock", ahead_s=0)
    assert "this machine's clock is 120 minutes behind the hub's" in said[0]
    assert said[2] == "  hint: set this machine's clock, then run the command again"


def test_a_registry_that_is_not_there_is_told_with_its_name(crowd: Any) -> None:
    said = refusal(crowd.attempt(*DEPLOY, env={"EDGECTL_AZURE_REGISTRY": "localhost:9"}))
    assert "'localhost:9'" in said[0]


def test_a_registry_that_refuses_is_told_with_its_code(crowd: Any) -> None:
    registry = f"http://{crowd.env['EDGECTL_AZURE_REGISTRY']}/_edgectl/faults"
    body = json.dumps({"status": 403, "times": 50}).encode()
    with urllib.request.urlopen(registry, data=body, timeout=30):
        pass
    try:
        said = refusal(crowd.attempt(*DEPLOY))
    finally:
        request = urllib.request.Request(registry, method="DELETE")
        with urllib.request.urlopen(request, timeout=30):
            pass
    assert "registry" in said[0]
    assert said[1] == "  code: DENIED"


def test_a_malformed_condition_is_refused_at_plan_time_with_the_hubs_words(
    crowd: Any, setting: Callable[[str, str], None]
) -> None:
    setting("{tags: {site: tiny}}", "{condition: \"tags.site = = 'tiny'\"}")
    said = refusal(crowd.attempt("plan"))
    assert "BadRequest" in said[0] or "cannot read" in said[0]


def test_a_twin_that_would_be_too_large_is_refused_at_plan_time(
    crowd: Any, setting: Callable[[str, str], None]
) -> None:
    large = ", ".join(f"K{n}: {'x' * 4000}" for n in range(9))
    setting(
        "resource_group: edgectl", f"resource_group: edgectl\n    runtime: {{env: {{{large}}}}}"
    )
    said = refusal(crowd.attempt("plan"))
    assert "IoT Hub takes at most 32768" in said[0]


def test_throttling_that_does_not_end_is_told_and_a_rerun_goes_on(
    crowd: Any, fault: Callable[..., None]
) -> None:
    fault("hub.QueryTwins", "ThrottlingException", status=429, times=None)
    crowd.forget_calls()
    said = refusal(crowd.attempt(*DEPLOY, env=TWICE))
    assert crowd.calls()["total"]["hub.QueryTwins"] == 2
    assert said[0] == (
        f"error: {DEVICES}: IoT Hub asked to slow down, and kept asking "
        "(a fault that was asked for)"
    )
    assert said[1] == "  code: ThrottlingException"


def test_a_twin_that_others_keep_writing_is_told_and_one_write_is_got_over(
    crowd: Any, fault: Callable[..., None]
) -> None:
    # The lease is written three times and the rollout's record once; then the first device's tag.
    fault("hub.UpdateTwin", "PreconditionFailed", status=412, times=5, skip=4)
    said = refusal(crowd.attempt(*DEPLOY))
    assert re.match(r"error: all: cannot give release 1 to 'all-crowd1-\d': ", said[0]), said
    assert said[1] == "  code: PreconditionFailed"
    crowd.steer("DELETE", "faults")
    fault("hub.UpdateTwin", "PreconditionFailed", status=412, times=1, skip=4)
    assert crowd.run(*DEPLOY) == "all: healthy - 4 of 4 devices are healthy\n"


def test_a_hub_that_stays_down_in_mid_rollout_is_told_and_a_rerun_finishes(crowd: Any) -> None:
    with crowd.cut_in_mid_rollout("2", "2s", TWICE, after=ON_ITS_WAY, calls="hub.*") as process:
        stdout, stderr = process.communicate(timeout=120)
    said = refusal(subprocess.CompletedProcess((), process.returncode, stdout, stderr))
    assert "cannot be reached" in said[0]
    assert said[1] == "  code: NoAnswer"
    assert crowd.run(*DEPLOY) == "all: healthy - 4 of 4 devices are healthy\n"
    rows = crowd.rows().values()
    assert {row["state"] for row in rows} == {"healthy"}
    assert len({row["active"] for row in rows}) == 1


def test_a_hub_that_is_away_for_a_while_in_mid_rollout_is_waited_for(crowd: Any) -> None:
    with crowd.cut_in_mid_rollout("3", "5m", TWICE, after=ON_ITS_WAY, calls="hub.*") as process:
        assert process.stderr is not None
        waits = next(line for line in process.stderr if "trying again" in line)
        assert "cannot be reached" in waits
        crowd.steer("DELETE", "faults")
        stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stdout) == (0, "all: healthy - 4 of 4 devices are healthy\n")
    assert "it answers again" in stderr
    rows = crowd.rows().values()
    assert {row["state"] for row in rows} == {"healthy"}
    assert len({row["active"] for row in rows}) == 1


def test_a_hub_of_the_basic_tier_is_told_what_to_buy(site: Any) -> None:
    with site.account(0, "--tier", "B1", "--bare"):
        said = refusal(site.attempt("devices", "list"))
    assert "tier has no edge deployments" in said[0]
    assert said[1] == "  code: OperationNotAvailableInCurrentTier"
    assert "Standard tier" in said[2]
