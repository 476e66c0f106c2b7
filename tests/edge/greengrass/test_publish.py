"""Publishing through a nucleus, as a component does."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from edge_components.greengrass import NucleusError, NucleusLink, is_component, publish


def test_a_message_reaches_the_nucleus_with_qos_1(service: Any) -> None:
    publish("edgectl/core-1/a", b"\x00payload")
    assert service.nucleus.published == [("edgectl/core-1/a", b"\x00payload", "1")]


def test_a_link_is_opened_once_for_many_messages(service: Any) -> None:
    with NucleusLink() as link:
        link.publish("a", b"1")
        link.publish("a", b"2")
    assert [payload for _, payload, _ in service.nucleus.published] == [b"1", b"2"]
    assert service.nucleus.connections == 1


@pytest.mark.parametrize("name", ["UnauthorizedError", "ServiceError", "InvalidArgumentsError"])
def test_a_refusal_keeps_the_nucleuss_own_word(service: Any, name: str) -> None:
    service.nucleus.refusal = name
    with pytest.raises(NucleusError, match=r"'secret'.*no, because") as found:
        publish("secret", b"1")
    assert found.value.code == name


def test_a_nucleus_that_is_not_there_is_unavailable(service: Any) -> None:
    service.stop()
    with pytest.raises(NucleusError) as found:
        publish("a", b"1")
    assert found.value.code == "unavailable"


def test_a_nucleus_that_says_nothing_is_unavailable(service: Any) -> None:
    service.nucleus.is_silent = True
    with pytest.raises(NucleusError, match="in time") as found:
        publish("a", b"1", timeout_s=0.5)
    assert found.value.code == "unavailable"


def test_a_link_is_opened_anew_after_the_nucleus_restarted(service: Any) -> None:
    with NucleusLink() as link:
        link.publish("a", b"1")
        service.stop()
        with pytest.raises(NucleusError):
            link.publish("a", b"2")
        service.start()
        link.publish("a", b"3")
    assert [payload for _, payload, _ in service.nucleus.published] == [b"1", b"3"]


def test_a_process_that_is_no_component_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SVCUID", raising=False)
    assert not is_component()
    with pytest.raises(NucleusError, match="SVCUID") as found:
        publish("a", b"1")
    assert found.value.code == "unavailable"


def test_without_the_sdk_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "awsiot.greengrasscoreipc", None)
    with pytest.raises(NucleusError, match=r"edgectl-edge-components\[greengrass\]") as found:
        publish("a", b"1")
    assert found.value.code == "not-installed"


def test_the_sdk_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, edge_components.greengrass; print('awscrt' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
