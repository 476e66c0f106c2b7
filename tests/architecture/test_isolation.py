"""The test run itself: no socket leaves loopback, and nobody's settings reach a test."""

from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path

import pytest


def test_a_socket_beyond_loopback_is_refused() -> None:
    with (
        socket.socket() as outside,
        pytest.warns(UserWarning, match=r"192\.0\.2\.1"),
        pytest.raises(RuntimeError, match=r"192\.0\.2\.1"),
    ):
        outside.connect(("192.0.2.1", 9))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_loopback_is_allowed(host: str) -> None:
    with socket.create_server(("127.0.0.2" if host.endswith("2") else "127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection((host, port), timeout=5) as client:
            assert client.getpeername()[1] == port


def test_unix_sockets_are_allowed(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        client.connect(path)
        assert client.getpeername() == path


@pytest.mark.network
def test_a_test_marked_network_is_let_through() -> None:
    assert socket.socket.connect.__qualname__ != "socket_allow_hosts.<locals>.guarded_connect"


def test_the_home_folder_is_not_the_users() -> None:
    assert Path.home() != Path(pwd.getpwuid(os.getuid()).pw_dir)


@pytest.mark.parametrize("round_", [1, 2])
def test_a_setting_that_a_test_leaves_behind_does_not_reach_the_next(round_: int) -> None:
    assert "EDGECTL_LEFT_BEHIND" not in os.environ, round_
    os.environ["EDGECTL_LEFT_BEHIND"] = "1"
