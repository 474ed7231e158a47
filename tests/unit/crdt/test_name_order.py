"""Names are sorted in steps, whatever their order and number."""

from __future__ import annotations

from random import Random

import pytest

from vexil.crdt.name_order import STEP_NAMES, sorting


def sort(names: list[str]) -> tuple[list[str], int]:
    steps = sorting(names)
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, count
        count += 1


@pytest.mark.parametrize("size", [0, 1, STEP_NAMES, STEP_NAMES + 1, 3 * STEP_NAMES + 5])
@pytest.mark.parametrize("shuffled", [False, True])
def test_names_are_sorted_and_no_step_is_of_more_than_so_many(size: int, *, shuffled: bool) -> None:
    names = [f"flag/{n:06}" for n in range(size)]
    given = list(names)
    if shuffled:
        Random(1).shuffle(given)
    ordered, steps = sort(given)
    assert ordered == names
    assert steps >= size / STEP_NAMES


def test_what_is_added_between_two_steps_is_not_among_the_names() -> None:
    given = ["b", "a"]
    steps = sorting(given)
    next(steps)
    given.append("c")
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value == ["a", "b"]
