"""Names in ascending order, made bit by bit: a state has so many that sorting them at once would hold everybody up."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from heapq import merge
from itertools import chain, islice, pairwise
from typing import Final

STEP_NAMES: Final = 8_192
"""So many names are sorted, or merged, in one step (some five milliseconds)."""


def sorting(names: Iterable[str]) -> Generator[None, None, list[str]]:
    """Sort ``names``, in steps between which others may have their turn; the result is what the generator returns.

    ``names`` is looked at only in the first step, before anybody has had a turn. Names that are in order already, as
    a stored fold gives them, cost next to nothing.
    """
    given = list(names)
    runs: list[list[str]] = []
    for start in range(0, len(given), STEP_NAMES):
        runs.append(sorted(given[start : start + STEP_NAMES]))
        yield
    if all(lower[-1] <= higher[0] for lower, higher in pairwise(runs)):
        return list(chain.from_iterable(runs))
    merged = merge(*runs)
    ordered: list[str] = []
    while step := list(islice(merged, STEP_NAMES)):
        ordered += step
        yield
    return ordered
