"""The arithmetic of delays, without a tree and without Trio (S9)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from supervisor import Backoff

NAN, INF = float("nan"), float("inf")


ALMOST_ONE = 1.0 - 2.0**-53


HUGE = 10**6  # 1.5 ** HUGE is no float


def always(number: float) -> Callable[[], float]:
    return lambda: number


BACKOFFS = st.builds(
    Backoff,
    initial=st.floats(0.0, 1e6),
    factor=st.floats(1.0, 1e3),
    jitter=st.floats(0.0, 1.0),
    maximum=st.floats(0.0, 1e6),
    random=st.floats(0.0, ALMOST_ONE).map(always),
)


def test_the_defaults_are_those_of_the_contract() -> None:
    """S9: initial=0.5, factor=1.5, jitter=0.5, maximum=60.0, reset_after=10.0."""
    backoff = Backoff()
    assert (backoff.initial, backoff.factor, backoff.jitter) == (0.5, 1.5, 0.5)
    assert (backoff.maximum, backoff.reset_after) == (60.0, 10.0)


def test_each_failure_in_a_row_multiplies_the_delay_up_to_the_maximum() -> None:
    """S9: initial, then factor times as long, then maximum for ever."""
    backoff = Backoff(initial=0.5, factor=3.0, jitter=0.0, maximum=10.0)
    assert [backoff.delay(n) for n in range(1, 7)] == [0.5, 1.5, 4.5, 10.0, 10.0, 10.0]


def test_a_factor_of_one_keeps_the_delay() -> None:
    """S9: factor=1 is a constant delay, after any number of failures."""
    backoff = Backoff(initial=2.0, factor=1.0, jitter=0.0)
    assert [backoff.delay(n) for n in (1, 2, 1000, HUGE)] == [2.0] * 4


@pytest.mark.parametrize("factor", [1.5, 2.0, 1e308])
def test_a_huge_number_of_failures_gives_the_maximum(factor: float) -> None:
    """S9: a power beyond the range of floats is no error."""
    backoff = Backoff(factor=factor, jitter=0.0, maximum=60.0)
    assert backoff.delay(HUGE) == 60.0


def test_an_initial_delay_of_zero_stays_zero() -> None:
    """S9: a power of the factor times zero is zero."""
    backoff = Backoff(initial=0.0)
    assert [backoff.delay(n) for n in (1, 1000, HUGE)] == [0.0] * 3


def test_jitter_draws_from_both_sides_of_the_mean() -> None:
    """S9: with jitter=0.25 a delay is between three and five quarters of its mean."""
    drawn = [
        Backoff(initial=8.0, jitter=0.25, random=always(number)).delay(1)
        for number in (0.0, 0.5, 1.0)
    ]
    assert drawn == [6.0, 8.0, 10.0]


def test_jitter_of_one_can_draw_zero() -> None:
    """S9: the widest jitter is from zero to twice the mean."""
    drawn = [
        Backoff(initial=8.0, jitter=1.0, random=always(number)).delay(1) for number in (0.0, 1.0)
    ]
    assert drawn == [0.0, 16.0]


def test_no_delay_is_longer_than_the_maximum_by_rounding() -> None:
    """S9: low + (high - low) is above high for these numbers."""
    backoff = Backoff(initial=58.1, maximum=58.1, jitter=0.9, random=lambda: 1.0)
    assert backoff.delay(1) == 58.1


def test_at_the_maximum_delays_still_differ() -> None:
    """S9: the range is cut at the maximum, so groups that failed together stay spread."""
    drawn = [
        Backoff(initial=60.0, jitter=0.5, maximum=60.0, random=always(number)).delay(1)
        for number in (0.0, 0.5, 1.0)
    ]
    assert drawn == [30.0, 45.0, 60.0]


def test_an_initial_delay_above_the_maximum_is_cut() -> None:
    """S9: the maximum holds for the first delay too."""
    assert Backoff(initial=100.0, jitter=0.0, maximum=7.0).delay(1) == 7.0


def test_each_delay_asks_the_injected_random_source_once() -> None:
    """S9: an injected random source makes delays predictable."""
    numbers = iter([0.0, 0.5, 0.0])
    backoff = Backoff(initial=2.0, factor=2.0, jitter=0.5, random=lambda: next(numbers))
    assert [backoff.delay(1), backoff.delay(1), backoff.delay(2)] == [1.0, 2.0, 2.0]


def test_a_backoff_is_frozen() -> None:
    """S9: many groups can share it, since it cannot be changed."""
    backoff = Backoff()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        backoff.initial = 1.0  # type: ignore[misc]
    assert backoff == Backoff()


def test_its_repr_shows_the_numbers() -> None:
    """S9: a repr shows the defaults."""
    assert repr(Backoff()) == (
        "Backoff(initial=0.5, factor=1.5, jitter=0.5, maximum=60.0, reset_after=10.0)"
    )


@pytest.mark.parametrize("value", [NAN, INF, -INF, -1.0])
@pytest.mark.parametrize("name", ["initial", "factor", "jitter", "maximum", "reset_after"])
def test_a_number_out_of_range_is_refused_by_name(name: str, value: float) -> None:
    """S9: NaN, infinities and negative numbers are errors that name argument and value."""
    with pytest.raises(ValueError, match=rf"(?s){name}.*{value!r}"):
        Backoff(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "value"), [("factor", 0.999), ("jitter", 1.001)])
def test_a_factor_below_one_and_a_jitter_above_one_are_refused(name: str, value: float) -> None:
    """S9: delays do not shrink, and are not negative."""
    with pytest.raises(ValueError, match=rf"{name}.*{value}"):
        Backoff(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("initial", 0.0),
        ("factor", 1.0),
        ("jitter", 0.0),
        ("jitter", 1.0),
        ("maximum", 0.0),
        ("reset_after", 0.0),
    ],
)
def test_the_ends_of_the_ranges_are_allowed(name: str, value: float) -> None:
    """S9: zero delays, constant delays and both ends of jitter are valid."""
    assert getattr(Backoff(**{name: value}), name) == value  # type: ignore[arg-type]


@settings(deadline=None, derandomize=True)
@given(backoff=BACKOFFS, failures=st.integers(1, HUGE))
def test_a_delay_is_never_negative_and_never_above_the_maximum(
    backoff: Backoff, failures: int
) -> None:
    """S9: for all parameters, 0 <= delay <= maximum."""
    assert 0.0 <= backoff.delay(failures) <= backoff.maximum


@settings(deadline=None, derandomize=True)
@given(backoff=BACKOFFS)
def test_a_further_failure_never_shortens_the_range_of_a_delay(backoff: Backoff) -> None:
    """S9: for the same random number, each failure in a row waits at least as long as the last."""
    delays = [backoff.delay(failures) for failures in range(1, 40)]
    assert all(earlier <= later for earlier, later in pairwise(delays))


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_random_source_out_of_its_range_is_refused(share: float) -> None:
    """S9: a delay is never negative and never above the maximum; the error names the source."""
    backoff = Backoff(random=lambda: share)
    with pytest.raises(ValueError, match=rf"random=<function .* returned {share}, which is not"):
        backoff.delay(1)
