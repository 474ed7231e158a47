"""How long a failing node is left alone: within its bounds, whatever chance says."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from vexil.sdk.client.back_off import around_s, back_off_s

BOUNDS = {"base_s": 1.0, "max_s": 60.0, "floor_s": 0.05}


@given(st.integers(), st.integers(0, 10_000), st.floats(0, 300))
def test_it_is_never_shorter_than_the_floor_nor_longer_than_the_maximum(
    seed: int, failures: int, asked_s: float
) -> None:
    found = back_off_s(random.Random(seed), failures, **BOUNDS, retry_after_s=asked_s)
    assert asked_s + 0.05 <= found <= asked_s + 60.0


def test_chance_may_say_nought() -> None:
    class Nought(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return a

    assert back_off_s(Nought(), 5, **BOUNDS) == 0.05


def test_it_is_spread_over_a_span_that_doubles() -> None:
    rng = random.Random(1)
    for failures in range(1, 6):
        found = [back_off_s(rng, failures, **BOUNDS) for _ in range(1000)]
        assert 0.9 * 2**failures < max(found) <= 2**failures
        assert min(found) < 0.1 * 2**failures


def test_what_is_repeated_drifts_apart() -> None:
    found = [around_s(random.Random(seed), 30.0) for seed in range(100)]
    assert 24 <= min(found) < 26
    assert 34 < max(found) <= 36
