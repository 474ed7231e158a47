"""The clock: close to wall time, never backwards, never dragged along by one that is too far ahead."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vexil.crdt import hlc as clocks
from vexil.crdt.hlc import HybridClock

NOW_MS = 1_750_000_000_000
YEAR_MS = 365 * 24 * 3600 * 1000
LIMIT_MS = 60_000

wall_times = st.one_of(
    st.sampled_from((0, NOW_MS, NOW_MS + 1, NOW_MS - YEAR_MS, NOW_MS + YEAR_MS)), st.integers(0, 2 * NOW_MS)
)
stamps = st.one_of(
    st.builds(clocks.pack, wall_times, st.sampled_from((0, 1, clocks.COUNTER_MASK))),
    st.integers(0, clocks.HLC_MAX),
)
local = st.tuples(st.just("tick"), wall_times, st.just(0))
remote = st.tuples(st.just("observe"), wall_times, stamps)


def clock_at(last: int) -> HybridClock:
    clock = HybridClock(ahead_limit_ms=LIMIT_MS)
    clock.last = last
    return clock


@given(st.lists(st.one_of(local, remote), max_size=30))
def test_local_stamps_rise_and_are_above_every_believed_one(events: list[tuple[str, int, int]]) -> None:
    clock = HybridClock(ahead_limit_ms=LIMIT_MS)
    highest = 0
    for kind, wall_ms, stamp in events:
        if kind == "tick":
            ticked = clock.tick(wall_ms)
            assert ticked > highest
            assert clocks.milliseconds(ticked) >= wall_ms
            highest = ticked
        else:
            suspect = clocks.milliseconds(stamp) > wall_ms + LIMIT_MS
            assert clock.is_suspect(stamp, wall_ms) == suspect
            assert clock.observe(stamp, wall_ms) == suspect
            if not suspect:
                highest = max(highest, stamp)
        assert clock.last == highest, "moved by ticks and believed stamps, by nothing else"


@given(stamps, wall_times)
def test_the_receive_rule_at_equal_time_still_gives_a_later_stamp(stamp: int, wall_ms: int) -> None:
    """Wall clock, own clock and received stamp all at one millisecond, in every order of their counters."""
    for own in (clocks.pack(NOW_MS), clocks.pack(NOW_MS, 5), clocks.pack(NOW_MS, 9)):
        for received in (clocks.pack(NOW_MS), clocks.pack(NOW_MS, 5), clocks.pack(NOW_MS, 9)):
            clock = clock_at(own)
            assert clock.observe(received, NOW_MS) is False
            assert clock.tick(NOW_MS) == max(own, received) + 1


def test_a_received_stamp_advances_a_clock_that_never_writes() -> None:
    clock = HybridClock(ahead_limit_ms=LIMIT_MS)
    for ms in range(NOW_MS, NOW_MS + 5):
        clock.observe(clocks.pack(ms, 3), NOW_MS)
        assert clock.last == clocks.pack(ms, 3)


@pytest.mark.parametrize(("ahead_ms", "suspect"), [(0, False), (LIMIT_MS, False), (LIMIT_MS + 1, True)])
def test_the_limit_is_exact(ahead_ms: int, suspect: bool) -> None:
    clock = HybridClock(ahead_limit_ms=LIMIT_MS)
    stamp = clocks.pack(NOW_MS + ahead_ms, clocks.COUNTER_MASK)
    assert clock.observe(stamp, NOW_MS) is suspect
    assert clock.last == (0 if suspect else stamp)


def test_a_machine_in_next_year_does_not_drag_the_others_along() -> None:
    clock = clock_at(clocks.pack(NOW_MS))
    for _ in range(100):
        assert clock.observe(clocks.pack(NOW_MS + YEAR_MS), NOW_MS)
    assert clock.tick(NOW_MS) == clocks.pack(NOW_MS, 1)
    assert clock.observe(clocks.HLC_MAX, NOW_MS)
    assert clock.tick(NOW_MS + 1) == clocks.pack(NOW_MS + 1)


def test_a_wall_clock_that_steps_back_a_year_stops_nobody() -> None:
    clock = HybridClock(ahead_limit_ms=LIMIT_MS)
    before = clock.tick(NOW_MS)
    after = [clock.tick(NOW_MS - YEAR_MS) for _ in range(1000)]
    assert after == [before + n for n in range(1, 1001)]
    assert clock.tick(NOW_MS + 1) == clocks.pack(NOW_MS + 1), "and is forgotten once time has caught up"


def test_a_full_counter_carries_into_the_milliseconds() -> None:
    clock = clock_at(clocks.pack(NOW_MS, clocks.COUNTER_MASK))
    assert clock.tick(NOW_MS) == clocks.pack(NOW_MS + 1, 0)
    assert clock.tick(NOW_MS + 1) == clocks.pack(NOW_MS + 1, 1)
    clock.observe(clocks.pack(NOW_MS + 2, clocks.COUNTER_MASK), NOW_MS)
    assert clock.tick(NOW_MS + 2) == clocks.pack(NOW_MS + 3, 0)


def test_more_events_in_one_millisecond_than_the_counter_counts() -> None:
    clock = HybridClock(ahead_limit_ms=LIMIT_MS)
    ticks = [clock.tick(NOW_MS) for _ in range(clocks.COUNTER_MASK + 10)]
    assert all(a < b for a, b in pairwise(ticks))
    assert clocks.milliseconds(ticks[-1]) == NOW_MS + 1


@given(st.integers(0, (1 << 48) - 1), st.integers(0, clocks.COUNTER_MASK))
def test_a_stamp_is_its_parts(ms: int, counter: int) -> None:
    stamp = clocks.pack(ms, counter)
    assert (clocks.milliseconds(stamp), clocks.counter(stamp)) == (ms, counter)
    assert 0 <= stamp <= clocks.HLC_MAX


@given(st.integers(-(1 << 62), clocks.HLC_MAX), st.integers(-(1 << 62), clocks.HLC_MAX))
def test_rendering_is_total_and_keeps_the_order_of_time(a: int, b: int) -> None:
    low, high = sorted((a, b))
    low_text, high_text = clocks.render(low).split("+")[0], clocks.render(high).split("+")[0]
    assert low_text <= high_text
    assert low_text.endswith("Z")
    assert len(low_text) == len("2025-06-15T15:06:40.000Z")


def test_a_stamp_as_the_api_shows_it() -> None:
    assert clocks.render(clocks.pack(NOW_MS, 7)) == "2025-06-15T15:06:40.000Z+7"
    assert clocks.render(clocks.pack(NOW_MS + 1)) == "2025-06-15T15:06:40.001Z+0"
    assert clocks.render(0) == "1970-01-01T00:00:00.000Z+0"
    assert clocks.render(clocks.HLC_MAX) == "9999-12-31T23:59:59.999Z+65535"
