"""What `edgectl deploy` says when the account refuses it: a sentence, AWS's code and a way out.

The command and the account are processes of their own. What only the plugin decides is tested
with it; here it is what a user reads, the exit code, and that a rerun finishes the job. The tests
share an account, so each leaves it as it was or further on.
"""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)  # processes that start slowly on a slow machine

DEPLOY = ("deploy", "--poll", "0.2")
ON_ITS_WAY = "greengrassv2.CreateDeployment"
TWICE = {"AWS_MAX_ATTEMPTS": "2"}  # of six, which take half a minute where nothing answers
ROLE = "arn:aws:iam::123456789012:role/edgectl-training"
PROGRESS = re.compile(r" *[0-9.]+s .*")


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a refused command said besides its progress, line by line."""
    assert (done.returncode, done.stdout) == (1, ""), (done.returncode, done.stdout, done.stderr)
    lines = [line for line in done.stderr.splitlines() if not PROGRESS.fullmatch(line)]
    return "\n".join(lines)


@pytest.fixture
def setting(crowd: Any) -> Any:
    """Change a word of the project file for one test."""
    file = crowd.folder / "edgectl.yaml"
    before = file.read_text()

    def change(old: str, new: str) -> None:
        assert old in before
        file.write_text(before.replace(old, new))

    yield change
    file.write_text(before)


def test_without_credentials_a_user_is_told_how_to_log_in(crowd: Any) -> None:
    none = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "")
    done = crowd.attempt(*DEPLOY, env={**none, "HOME": str(crowd.folder)})
    assert refusal(done) == (
        "error: cannot list the releases of 'tiny': there are no usable AWS credentials "
        "(Unable to locate credentials)\n"
        "  code: NoCredentials\n"
        "  hint: run `aws sso login`, or set AWS_PROFILE or AWS_ACCESS_KEY_ID; "
        "`edgectl doctor` checks"
    )


def test_with_an_expired_token_a_user_is_told_to_get_a_new_one(crowd: Any) -> None:
    expired = crowd.steer("POST", "sessions", role_arn=ROLE, seconds=-60)
    assert refusal(crowd.attempt(*DEPLOY, env=expired)) == (
        "error: cannot list the releases of 'tiny': The provided token has expired\n"
        "  code: ExpiredToken\n"
        "  hint: get new credentials (`aws sso login`), then run the command again: it goes on"
    )


def test_a_wrong_region_is_told_with_the_setting_to_check(crowd: Any, setting: Any) -> None:
    setting("region: us-east-1", "region: eu-west-1")
    assert refusal(crowd.attempt(*DEPLOY)) == (
        "error: cannot list thing group 'tiny-fleet': "
        "Credential should be scoped to a valid region\n"
        "  code: InvalidSignatureException\n"
        "  hint: check `region` and `bucket` of providers.aws: they have to be of one Region"
    )


def test_a_missing_bucket_is_told_with_its_name_and_setting(crowd: Any, setting: Any) -> None:
    setting("bucket: tiny-models", "bucket: nobody-has-this-one")
    assert refusal(crowd.attempt(*DEPLOY)) == (
        "error: cannot list the releases of 'tiny': "
        "The specified bucket does not exist ('nobody-has-this-one')\n"
        "  code: NoSuchBucket\n"
        "  hint: make the bucket, or correct `bucket` of providers.aws"
    )


@pytest.mark.parametrize("ahead_s", [900, -900])
def test_a_clock_that_is_off_is_told_as_such(crowd: Any, ahead_s: int) -> None:
    crowd.steer("PUT", "clock", ahead_s=ahead_s)
    try:
        said = refusal(crowd.attempt(*DEPLOY)).splitlines()
    finally:
        crowd.steer("PUT", "clock", ahead_s=0)
    assert len(said) == 3
    assert said[1] in {"  code: RequestTimeTooSkewed", "  code: InvalidSignatureException"}
    assert said[2] == (
        "  hint: set this machine's clock (AWS allows 5 minutes), then run the command again"
    )


def test_throttling_that_does_not_end_is_told_and_a_rerun_goes_on(crowd: Any) -> None:
    crowd.steer("POST", "faults", operation="s3.ListObjectsV2", code="SlowDown", times=None)
    crowd.forget_calls()
    try:
        said = refusal(crowd.attempt(*DEPLOY, env=TWICE))
        tried = crowd.calls()["total"]["s3.ListObjectsV2"]
    finally:
        crowd.steer("DELETE", "faults")
    assert tried == 2
    assert said == (
        "error: cannot list the releases of 'tiny': AWS asked to slow down, and kept asking "
        "(a fault that was asked for)\n"
        "  code: SlowDown\n"
        "  hint: wait a minute and run the command again: it goes on where it stopped"
    )


def test_a_denied_action_is_named_and_once_it_is_allowed_a_rerun_finishes(crowd: Any) -> None:
    denied = {"Effect": "Deny", "Action": "greengrass:CreateDeployment", "Resource": "*"}
    allowed = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    policy = {"Version": "2012-10-17", "Statement": [denied, allowed]}
    user = crowd.steer("POST", "users", name="limited", policy=policy)
    said = refusal(crowd.attempt(*DEPLOY, env=user))
    assert re.fullmatch(
        r"error: all: cannot give release 1 to 'edgectl-tiny-all-\w+-r1': "
        r"greengrass:CreateDeployment is not allowed\n"
        r"  code: AccessDeniedException\n"
        r"  hint: add greengrass:CreateDeployment to the policy of the role or user; "
        r"docs/providers/aws\.md has the whole policy",
        said,
    )
    assert crowd.run(*DEPLOY) == "all: healthy - 4 of 4 devices are healthy\n"


def test_an_endpoint_that_stays_down_in_mid_rollout_is_told_and_a_rerun_finishes(
    crowd: Any,
) -> None:
    with crowd.cut_in_mid_rollout("2", "2s", TWICE, after=ON_ITS_WAY) as process:
        stdout, stderr = process.communicate(timeout=120)
    said = refusal(subprocess.CompletedProcess((), process.returncode, stdout, stderr)).splitlines()
    assert len(said) == 3
    assert f"'{crowd.env['AWS_ENDPOINT_URL']}' cannot be reached" in said[0]
    assert said[1] == "  code: ConnectionClosedError"
    assert said[2].startswith("  hint: check the network")

    assert crowd.run(*DEPLOY) == "all: healthy - 4 of 4 devices are healthy\n"
    rows = crowd.rows().values()
    assert {row["state"] for row in rows} == {"healthy"}
    assert len({row["active"] for row in rows}) == 1


def test_an_endpoint_that_is_away_for_a_while_in_mid_rollout_is_waited_for(crowd: Any) -> None:
    with crowd.cut_in_mid_rollout("3", "5m", TWICE, after=ON_ITS_WAY) as process:
        assert process.stderr is not None
        waits = next(line for line in process.stderr if "trying again" in line)
        assert "cannot be reached" in waits
        assert waits.endswith("trying again for 300 s\n")
        crowd.steer("DELETE", "faults")
        stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stdout) == (0, "all: healthy - 4 of 4 devices are healthy\n")
    assert "it answers again" in stderr
    rows = crowd.rows().values()
    assert {row["state"] for row in rows} == {"healthy"}
    assert len({row["active"] for row in rows}) == 1
