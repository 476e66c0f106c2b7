"""What a rehearsal leaves out of the environment, and the fence around its processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl.rehearsal.loopback import FENCE, is_here
from edgectl.rehearsal.surroundings import foreign

HERE = ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "localhost", b"localhost", None, ""]


@pytest.mark.parametrize("host", [*HERE, "hub.localhost", socket.gethostname()])
def test_this_machine_is_here(host: object) -> None:
    assert is_here(host)


@pytest.mark.parametrize(
    "host", ["hub.example", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0", "localhost.example", 7]
)
def test_anything_else_is_not(host: object) -> None:
    assert not is_here(host)


@given(st.ip_addresses(v=4).filter(lambda one: not one.is_loopback and int(one)))
def test_no_other_address_is_taken_for_this_machine(address: object) -> None:
    assert not is_here(str(address))


CONNECT = """\
import socket, sys, urllib.request
from edgectl.rehearsal.loopback import OutsideError, fence
fence("folder")
with socket.create_server(("127.0.0.1", 0)) as server:
    with socket.create_connection(server.getsockname()):
        print("inside")
for attempt in (
    lambda: socket.create_connection(("hub.example", 443)),
    lambda: socket.socket().connect(("192.0.2.1", 443)),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)),
):
    try:
        attempt()
    except OutsideError as exc:
        print(exc)
"""


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_fenced_process_reaches_this_machine_only_and_says_why() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CONNECT],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "inside"
    assert ["hub.example:443" in lines[1], "192.0.2.1:443" in lines[2]] == [True, True]
    assert "192.0.2.1:53" in lines[3]
    assert all("this is a rehearsal" in line for line in lines[1:])


def test_the_command_line_is_fenced_where_its_environment_says_so() -> None:
    code = (
        "import socket\nfrom edgectl.cli.main import run\nrun(['schema'])\n"
        "socket.getaddrinfo('hub.example', 443)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, FENCE: "folder"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "OutsideError" in done.stderr


def test_what_leads_to_real_accounts_is_left_out_but_for_what_the_project_names() -> None:
    environment = {
        "PATH": "/bin",
        "AWS_PROFILE": "prod",
        "AWS_REGION": "eu-west-1",
        "KUBECONFIG": "/home/ann/.kube/config",
        "HTTPS_PROXY": "http://proxy.example",
        "EDGECTL_HUB_URL": "https://hub.example",
        "EDGECTL_SIGNING_KEY": "publisher.pem",
        "EDGECTL_DEPLOY_POLL": "5",
        "GOOGLE_APPLICATION_CREDENTIALS": "key.json",
    }
    settings = {
        "aws": {"region": "${AWS_REGION}", "training": {"list": ["x-${AWS_REGION:-y}"]}},
        "selfhosted": {"url": "${EDGECTL_HUB_URL:-http://127.0.0.1:8280}"},
    }
    assert foreign(environment, settings) == (
        "AWS_PROFILE",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "HTTPS_PROXY",
        "KUBECONFIG",
    )
    assert foreign({}, settings) == ()
