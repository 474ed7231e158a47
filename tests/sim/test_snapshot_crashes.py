"""A node that takes a snapshot is killed at many moments of it, on disks and stores with the manners of real ones."""

from __future__ import annotations

import pytest

from tests.sim.test_scenarios import play

STORY = """
nodes eu-1 us-1
every page of a snapshot has 2000 bytes
cut us-1 eu
set g lonely at us-1
fill f with 30 of 300 bytes at eu-1
create h at eu-1
wait 6
forget the log at eu-1
mend
wait for a snapshot at us-1
wait {after}
crash us-1
start us-1
converge within 120
expect a snapshot at us-1
expect h present everywhere
expect g lonely everywhere
set h after at us-1
expect h after everywhere within 20
wait 30
converge within 60
expect nothing lost
"""


@pytest.mark.parametrize("after_ms", range(0, 700, 25))
def test_a_crash_at_any_moment_of_a_snapshot_loses_nothing(after_ms: int) -> None:
    play(STORY.format(after=after_ms / 1_000))
