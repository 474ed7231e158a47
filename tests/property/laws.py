"""The laws of a join, said once and applied to every type that merges (after antidote's ``crdt_properties``).

Each type calls ``check_join`` with values of its own; equality is equality of what the type calls canonical.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import TypeVar

T = TypeVar("T")


def check_join(join: Callable[[T, T], T], bottom: T, values: Sequence[T]) -> None:
    """Commutative, associative, idempotent, absorbing, with ``bottom`` as identity; over all of ``values`` (<= 4)."""
    for a in values:
        assert join(a, a) == a, "idempotent"
        assert join(a, bottom) == a, "identity on the right"
        assert join(bottom, a) == a, "identity on the left"
        for b in values:
            both = join(a, b)
            assert both == join(b, a), "commutative"
            assert join(both, a) == both, "an old value joined again changes nothing"
            assert join(both, b) == both, "nor does the other"
            for c in values:
                assert join(both, c) == join(a, join(b, c)), "associative"
    results = set()
    for order in permutations(values):
        folded = bottom
        for value in order:
            folded = join(folded, value)
        results.add(repr(folded))
    assert len(results) <= 1, "the order of arrival shows"


def check_order(join: Callable[[T, T], T], below: Callable[[T, T], bool], a: T, b: T) -> None:
    """``below`` is the order of the join: each side is below the join, and ``a`` below ``b`` iff the join is ``b``."""
    both = join(a, b)
    assert below(a, both)
    assert below(b, both)
    assert below(a, b) == (both == b)
