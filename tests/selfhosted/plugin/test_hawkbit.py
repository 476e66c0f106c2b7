from __future__ import annotations

import pytest


@pytest.mark.hawkbit
def test_these_tests_ran_against_a_real_hawkbit_too(request: pytest.FixtureRequest) -> None:
    """One line in the summary says whether they did."""
    if not any("[hawkbit" in item.name for item in request.session.items):
        pytest.skip(
            "not against a real Eclipse hawkBit: EDGECTL_TEST_HAWKBIT_JAR has to name the jar of "
            "org.eclipse.hawkbit:hawkbit-update-server:1.0.4 (Java 17); then every test of this "
            "folder runs against it as well"
        )
