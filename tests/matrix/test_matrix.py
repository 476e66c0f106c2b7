"""One project on all four providers at once, asserted from the devices' own answers.

Emulators, devices and commands are processes of their own, and what an emulator says is asked of it
past edgectl: of the hub, the shadow, the twin and the pods. The steps are one test, because four
emulators take longer to start than a release takes to travel.
"""

from __future__ import annotations

from typing import Any

import pytest
from matrix_project import PLACES

pytestmark = pytest.mark.timeout(900)  # processes that start slowly on a slow machine
ONES, TWOS = (1.0,) * 4, (2.0,) * 4
DEVICES = {place.device for place in PLACES}


def verdicts(words: str) -> str:
    return "".join(f"{place.target}: {words}\n" for place in PLACES)


def test_one_command_gives_all_four_providers_a_release_takes_a_bad_one_back_and_updates_a_model(
    matrix: Any,
) -> None:
    # One package, wherever it went.
    said, _ = matrix.deploy(asking=False)
    assert said == verdicts("healthy - 1 of 1 devices are healthy")
    assert matrix.answering() == matrix.reported() == {matrix.first}
    assert set(matrix.answers().values()) == {ONES}
    rows = matrix.status()
    assert {(row["target"], device) for device, row in rows.items()} == {
        (place.target, place.device) for place in PLACES
    }
    assert {(row["state"], row["digest"]) for row in rows.values()} == {("healthy", matrix.first)}
    assert {row["active"] for row in rows.values()} == {1}

    # The same again is read everywhere and written nowhere.
    before = matrix.written()
    said, _ = matrix.deploy()
    assert said.count("release 1 already") == len(PLACES)
    assert matrix.written() == before

    # A release that no device computes as it was meant to comes off everywhere.
    matrix.build("2", 5.0, spoilt=True)
    said, answers = matrix.deploy(code=6)
    assert said.count("golden-failed") == len(PLACES)
    assert answers == {ONES}
    assert matrix.answering() == matrix.reported() == {matrix.first}

    # Another model is all that travels, and the runtimes that were there answer with it.
    runtimes = matrix.runtimes()
    second = matrix.build("3", 2.0)
    said, answers = matrix.deploy()
    assert said == verdicts("healthy - 1 of 1 devices are healthy")
    assert answers <= {ONES, TWOS}
    assert set(matrix.answers().values()) == {TWOS}
    assert matrix.answering() == matrix.reported() == {second}
    assert matrix.runtimes() == runtimes
    matrix.run("journal", "verify")
