"""What `coordinate` and the facade around all hooks have to keep."""

# ruff: noqa: S101 - a test asserts

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from edgectl import hookspecs
from edgectl.errors import UnsupportedError
from edgectl.provider import Provider
from edgectl.records import Target
from edgectl.requests import CoordinateRequest
from edgectl.testing.conformance.base import Fixtures, need

HOOKS = tuple(
    name for name, value in vars(hookspecs).items() if hasattr(value, f"{hookspecs.PROJECT}_spec")
)
RIVALS = 8


class FacadeConformance(Fixtures):
    """What holds for every hook."""

    def test_hooks_that_are_left_out_are_told_as_unsupported(self, provider: Provider) -> None:
        """The message names the hook."""
        left_out = [hook for hook in HOOKS if not provider.supports(hook)]
        if not left_out:
            pytest.skip("the provider implements every hook")
        for hook in left_out:
            method = getattr(provider, hook)
            with pytest.raises(UnsupportedError, match=f"'{hook}'"):
                result = method() if hook == "capabilities" else method(msgspec.Raw())
                if isinstance(result, Iterator):
                    next(result)

    def test_work_of_a_rollout_is_implemented(self, provider: Provider) -> None:
        """Without these hooks nothing can be rolled out: they are not optional."""
        needed = ("package", "inventory", "deploy", "observe", "history", "coordinate")
        assert [hook for hook in needed if not provider.supports(hook)] == []


class CoordinateConformance(Fixtures):
    """`coordinate` is an atomic compare-and-swap that all operators of a target see."""

    @pytest.fixture
    def question(self, provider: Provider, target: Target, application: str) -> CoordinateRequest:
        """Ask for a text that nobody has set yet."""
        need(provider, "coordinate")
        return CoordinateRequest(
            target=target, application=application, key="lease", read_only=True
        )

    def _swap(
        self, question: CoordinateRequest, expect: str | None, value: str | None
    ) -> CoordinateRequest:
        return msgspec.structs.replace(question, read_only=False, expect=expect, value=value)

    def test_coordinate_begins_with_nothing(
        self, provider: Provider, question: CoordinateRequest
    ) -> None:
        """Reading changes nothing and never swaps."""
        for _ in range(2):
            result = provider.coordinate(question)
            assert (result.value, result.swapped) == (None, False)

    def test_coordinate_keeps_what_was_swapped_in(
        self, provider: Provider, second_provider: Provider, question: CoordinateRequest
    ) -> None:
        """Another operator reads it, quotes and letters of any language included."""
        text = '{"by": "zoë@büro", "until": 17}'
        result = provider.coordinate(self._swap(question, None, text))
        assert (result.value, result.swapped) == (text, True)
        assert second_provider.coordinate(question).value == text

    def test_coordinate_takes_four_hundred_characters(
        self, provider: Provider, question: CoordinateRequest
    ) -> None:
        """That is what callers may rely on."""
        text = "x" * 400
        assert provider.coordinate(self._swap(question, None, text)).swapped
        assert provider.coordinate(question).value == text

    @pytest.mark.parametrize("expect", [None, "wrong"])
    def test_coordinate_refuses_a_swap_that_expects_something_else(
        self, provider: Provider, question: CoordinateRequest, expect: str | None
    ) -> None:
        """The answer has what really stands there."""
        provider.coordinate(self._swap(question, None, "present"))
        result = provider.coordinate(self._swap(question, expect, "new"))
        assert (result.value, result.swapped) == ("present", False)
        assert provider.coordinate(question).value == "present"

    def test_coordinate_can_take_the_text_away(
        self, provider: Provider, question: CoordinateRequest
    ) -> None:
        """And a new one can come."""
        provider.coordinate(self._swap(question, None, "first"))
        assert provider.coordinate(self._swap(question, "first", None)).swapped
        assert provider.coordinate(question).value is None
        assert provider.coordinate(self._swap(question, None, "second")).swapped

    def test_coordinate_keeps_keys_and_applications_apart(
        self, provider: Provider, question: CoordinateRequest
    ) -> None:
        """A lease is not a control, and another application has its own."""
        provider.coordinate(self._swap(question, None, "mine"))
        other_key = msgspec.structs.replace(question, key="control")
        other_application = msgspec.structs.replace(
            question, application=f"{question.application}-2"
        )
        assert provider.coordinate(other_key).value is None
        assert provider.coordinate(other_application).value is None

    def test_coordinate_lets_exactly_one_of_many_rivals_win(
        self, provider: Provider, second_provider: Provider, question: CoordinateRequest
    ) -> None:
        """Of swaps with the same expectation at the same time one succeeds, round after round."""
        for round_ in range(3):
            present = provider.coordinate(question).value
            start = threading.Barrier(RIVALS)

            def rival(
                value: str, *, expect: str | None = present, start: threading.Barrier = start
            ) -> bool:
                side = provider if value.startswith("even") else second_provider
                start.wait(timeout=30)
                return side.coordinate(self._swap(question, expect, value)).swapped

            values = [f"{('even', 'odd')[n % 2]} {n} of round {round_}" for n in range(RIVALS)]
            with ThreadPoolExecutor(RIVALS) as pool:
                swapped = list(pool.map(rival, values))
            winners = [value for value, won in zip(values, swapped, strict=True) if won]
            assert len(winners) == 1
            assert provider.coordinate(question).value == winners[0]
