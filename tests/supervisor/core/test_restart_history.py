"""The restart history: the verdicts on a group's deaths, against a model, without a tree."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from supervisor import Backoff, RestartLimit

from ..helpers.internals import GiveUp, RestartHistory, Retry

NAN, INF = float("nan"), float("inf")


def doubling(*, reset_after: float = 10.0) -> Backoff:
    """Return a backoff of 1, 2, 4 … seconds, whose delays tell the failures in a row."""
    return Backoff(initial=1.0, factor=2.0, jitter=0.0, maximum=2.0**60, reset_after=reset_after)


@attrs.frozen
class Round:
    """One joint life of a group's members, in whole seconds."""

    wait: int
    """From the death before to the start."""
    ready: int | None
    """From the start until all members are ready; ``None`` if they never are."""
    life: int
    """From there to the death."""


ROUNDS = st.lists(
    st.builds(
        Round,
        wait=st.integers(0, 6),
        ready=st.none() | st.integers(0, 6),
        life=st.integers(0, 6),
    ),
    max_size=40,
)


@settings(deadline=None, derandomize=True)
@given(
    rounds=ROUNDS,
    reset_after=st.integers(0, 5),
    limit=st.none() | st.builds(RestartLimit, st.integers(0, 4), st.integers(1, 30)),
)
def test_verdicts_agree_with_the_model(
    rounds: list[Round], reset_after: int, limit: RestartLimit | None
) -> None:
    """S9, S10: failures in a row decide the delay, the times within the window the end."""
    history = RestartHistory(doubling(reset_after=reset_after), limit)
    now = 0.0
    failures = 0
    times: list[float] = []
    for each in rounds:
        now += each.wait
        if each.ready is not None:
            now += each.ready
            history.add_readiness(each.life)
        now += each.life
        verdict = history.add_failure(now, 0.5)

        reset = each.ready is not None and each.life >= reset_after
        failures = 1 if reset else failures + 1
        times.append(now)
        recent = [time for time in times if limit is not None and now - time <= limit.within]
        if limit is not None and len(recent) > limit.restarts:
            assert verdict == GiveUp(tuple(recent))
            return
        assert verdict == Retry(2.0 ** (failures - 1))
        assert history.failures == failures


def test_failures_of_rounds_that_were_never_ready_add_up() -> None:
    """S9: a group that never gets ready waits longer each time."""
    history = RestartHistory(doubling(), None)
    delays = [history.add_failure(now, 0.5) for now in (0.0, 100.0, 10_000.0)]
    assert delays == [Retry(1.0), Retry(2.0), Retry(4.0)]


@pytest.mark.parametrize(("life", "delay"), [(9.999, 4.0), (10.0, 1.0), (11.0, 1.0)])
def test_the_backoff_resets_after_reset_after_of_readiness(life: float, delay: float) -> None:
    """S9: exactly reset_after seconds of readiness are enough, less is not."""
    history = RestartHistory(doubling(reset_after=10.0), None)
    for _ in range(2):
        history.add_failure(0.0, 0.5)
    history.add_readiness(life)
    assert history.add_failure(life, 0.5) == Retry(delay)


def test_with_reset_after_zero_readiness_resets_at_once() -> None:
    """S9: reset_after=0 is upstream's rule; not being ready still counts."""
    history = RestartHistory(doubling(reset_after=0.0), None)
    assert history.add_failure(0.0, 0.5) == Retry(1.0)
    assert history.add_failure(0.0, 0.5) == Retry(2.0)
    history.add_readiness(0.0)
    assert history.add_failure(0.0, 0.5) == Retry(1.0)


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_the_restart_beyond_the_limit_gives_up(allowed: int) -> None:
    """S10: the limit's number of restarts take place, the next one does not."""
    history = RestartHistory(doubling(), RestartLimit(allowed, within=100.0))
    times = [float(now) for now in range(allowed + 1)]
    verdicts = [history.add_failure(now, 0.5) for now in times]
    assert all(isinstance(verdict, Retry) for verdict in verdicts[:-1])
    assert verdicts[-1] == GiveUp(tuple(times))


@pytest.mark.parametrize(("now", "gives_up"), [(60.0, True), (60.001, False)])
def test_a_restart_leaves_the_window_after_more_than_within(now: float, *, gives_up: bool) -> None:
    """S10: a restart exactly `within` ago still counts; an earlier one does not."""
    history = RestartHistory(doubling(), RestartLimit(1, within=60.0))
    history.add_failure(0.0, 0.5)
    assert isinstance(history.add_failure(now, 0.5), GiveUp) is gives_up


def test_becoming_ready_does_not_extend_the_limit() -> None:
    """S10: the window knows times only; a reset of the backoff is no pardon."""
    history = RestartHistory(doubling(reset_after=0.0), RestartLimit(1, within=100.0))
    history.add_readiness(0.0)
    history.add_failure(0.0, 0.5)
    history.add_readiness(0.0)
    assert history.add_failure(50.0, 0.5) == GiveUp((0.0, 50.0))


def test_without_a_limit_it_never_gives_up() -> None:
    """S10: the default is to restart for ever."""
    history = RestartHistory(Backoff(), None)
    assert all(isinstance(history.add_failure(0.0, 0.5), Retry) for _ in range(10_000))


def test_its_memory_is_bounded_by_the_limit() -> None:
    """S10: as many times are kept as the limit allows, however often the group restarts."""
    history = RestartHistory(doubling(), RestartLimit(3, within=10.0))
    for number in range(1000):
        assert isinstance(history.add_failure(number * 4.0, 0.5), Retry)
    assert history._times is not None
    assert len(history._times) == 3

    unlimited = RestartHistory(doubling(), None)
    for number in range(1000):
        unlimited.add_failure(number * 4.0, 0.5)
    assert not unlimited._times


@pytest.mark.parametrize("value", [-1, 1.5, True, "3", None])
def test_a_limit_of_restarts_is_a_whole_number(value: object) -> None:
    """S10: the error names the argument and its value."""
    error = ValueError if value == -1 else TypeError
    with pytest.raises(error, match=f"restarts={value!r}"):
        RestartLimit(value, within=1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0.0, -1.0, NAN, INF])
def test_a_window_is_a_finite_number_above_zero(value: float) -> None:
    """S10: the error names the argument and its value."""
    with pytest.raises(ValueError, match=f"within={value!r}"):
        RestartLimit(1, within=value)


def test_a_limit_is_frozen() -> None:
    """S10: it can be shared by many groups, for nothing can change it."""
    limit = RestartLimit(1, within=2.0)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        limit.restarts = 5  # type: ignore[misc]
    assert limit == RestartLimit(1, within=2.0)
