"""What signals ask for, and the seconds that are left, without a process (S22)."""

from __future__ import annotations

import math

import pytest

from ..helpers.internals import DOUBLED, FOLLOWING, LAST_RESORT, Countdown, Request


@pytest.fixture
def countdown() -> Countdown:
    return Countdown(30.0)


def test_nothing_is_counted_before_a_signal(countdown: Countdown) -> None:
    """S22: a process that nobody stops may take as long as it likes."""
    countdown.ran(1e9)
    assert countdown.left == math.inf


def test_the_first_signal_stops(countdown: Countdown) -> None:
    """S22: the process has the time of the stop, and 5 seconds for what was cancelled then."""
    assert countdown.signalled(100.0) is Request.STOP
    assert countdown.left == 30.0 + LAST_RESORT
    countdown.ran(10.0)
    assert countdown.left == 20.0 + LAST_RESORT


@pytest.mark.parametrize("later", [0.0, DOUBLED / 2])
def test_a_doubled_signal_is_one(countdown: Countdown, later: float) -> None:
    """S22: what comes within 0.2 seconds of the first is sent by a terminal and a wrapper."""
    countdown.signalled(100.0)
    assert countdown.signalled(100.0 + later) is None
    assert countdown.signalled(100.0 + later) is None
    assert countdown.left == 30.0 + LAST_RESORT


def test_the_second_signal_cancels_and_a_third_changes_nothing(countdown: Countdown) -> None:
    """S22: from the second one on, the process has 5 seconds."""
    countdown.signalled(100.0)
    assert countdown.signalled(101.0) is Request.CANCEL
    assert countdown.left == LAST_RESORT
    countdown.ran(3.0)
    assert countdown.signalled(104.0) is None
    assert countdown.left == LAST_RESORT - 3.0


def test_a_drain_comes_before_the_stop() -> None:
    """S33: its time is added, and a second signal in it leaves 5 seconds as any other does."""
    countdown = Countdown(30.0, drain=10.0)
    assert countdown.signalled(100.0) is Request.STOP
    assert countdown.left == 40.0 + LAST_RESORT
    countdown.ran(3.0)
    assert countdown.signalled(103.0) is Request.CANCEL
    assert countdown.left == LAST_RESORT


def test_a_stop_from_within_is_no_signal(countdown: Countdown) -> None:
    """S33: the seconds count from its begin, and the first signal after it is the first one."""
    countdown.stop_begun()
    assert countdown.left == 30.0 + LAST_RESORT
    countdown.ran(10.0)
    assert countdown.signalled(100.0) is Request.STOP
    assert countdown.left == 20.0 + LAST_RESORT
    assert countdown.signalled(101.0) is Request.CANCEL
    assert countdown.left == LAST_RESORT


def test_the_seconds_of_clean_up_begin_with_the_cancellation(countdown: Countdown) -> None:
    """S22: however late the loop has cancelled, the tasks get their 5 seconds, once."""
    countdown.signalled(100.0)
    countdown.ran(30.0 + LAST_RESORT - 1.0)
    countdown.cancelled()
    assert countdown.left == LAST_RESORT
    countdown.ran(4.0)
    countdown.cancelled()
    assert countdown.left == 1.0


def test_a_second_signal_gives_no_time_back(countdown: Countdown) -> None:
    """S22: what was cancelled by the timeout is not given 5 seconds more."""
    countdown.signalled(100.0)
    countdown.cancelled()
    countdown.ran(4.0)
    assert countdown.signalled(135.0) is Request.CANCEL
    assert countdown.left == 1.0


def test_the_process_has_5_seconds_after_its_tree(countdown: Countdown) -> None:
    """S22: a stop that took almost too long leaves the time to exit."""
    countdown.signalled(100.0)
    countdown.ran(30.0 + LAST_RESORT - 1.0)
    countdown.ended()
    assert countdown.left == LAST_RESORT
    countdown.cancelled()  # told at the same time
    assert countdown.left == LAST_RESORT


def test_a_signal_after_the_end_asks_only_to_exit(countdown: Countdown) -> None:
    """S22: when the tree has ended, a signal gives the process 5 seconds to exit."""
    countdown.ended()
    assert countdown.left == math.inf
    assert countdown.signalled(100.0) is None
    assert countdown.left == LAST_RESORT
    countdown.ran(1.0)
    assert countdown.signalled(101.0) is None
    assert countdown.left == LAST_RESORT - 1.0


def test_the_sidecars_have_their_own_seconds(countdown: Countdown) -> None:
    """S35: they are bounded although nobody stops the process, and what follows them is not."""
    countdown.sidecars_follow()
    assert countdown.left == FOLLOWING + LAST_RESORT
    countdown.ran(3.0)
    countdown.ended()
    assert countdown.left == math.inf


@pytest.mark.parametrize("first", ["before", "after"])
def test_a_signal_bounds_what_follows_the_sidecars(countdown: Countdown, first: str) -> None:
    """S22, S35: whenever the first one came, the process has 5 seconds at least at its end."""
    if first == "before":
        countdown.signalled(100.0)
    countdown.sidecars_follow()
    if first == "after":
        assert countdown.signalled(100.0) is Request.STOP
    assert countdown.left == FOLLOWING + LAST_RESORT
    countdown.ran(FOLLOWING + 1.0)
    countdown.ended()
    assert countdown.left == LAST_RESORT


def test_a_second_signal_bounds_the_sidecars(countdown: Countdown) -> None:
    """S35: before the end of the tree or after it, they have the 5 seconds of what is cancelled."""
    countdown.signalled(100.0)
    countdown.sidecars_follow()
    assert countdown.signalled(101.0) is Request.CANCEL
    assert countdown.left == LAST_RESORT
    countdown.ran(4.0)
    countdown.sidecars_follow()
    assert countdown.left == LAST_RESORT
