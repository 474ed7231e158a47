"""Quantiles of many durations in little memory: counts in buckets that grow by a fixed factor.

Two sketches are merged by adding their counts, so what is measured in many runs, in any order and by many processes,
is one distribution. A quantile is exact to the width of its bucket.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, log
from typing import Final

LEAST_S: Final = 0.001
"""Anything shorter is in the first bucket."""
GROWTH: Final = 1.1
"""From one bucket to the next: a quantile is at most so much too large."""
BUCKETS_MAX: Final = 200
"""The last one begins at two days."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """A distribution of durations."""

    counts: Mapping[int, int] = field(default_factory=dict)
    """By bucket; bucket n ends at ``LEAST_S * GROWTH ** n``."""
    longest_s: float = 0.0

    def __add__(self, other: Sketch) -> Sketch:
        """Both together."""
        counts = Counter(self.counts)
        counts.update(other.counts)
        return Sketch(dict(counts), max(self.longest_s, other.longest_s))

    def __len__(self) -> int:
        return sum(self.counts.values())

    def quantile_s(self, share: float) -> float | None:
        """The duration that ``share`` (in 0…1) of all do not exceed; None if there is none."""
        wanted = max(1, ceil(share * len(self)))
        so_far = 0
        for bucket in sorted(self.counts):
            so_far += self.counts[bucket]
            if so_far >= wanted:
                return min(LEAST_S * GROWTH**bucket, self.longest_s)
        return None


def sketch_of(durations_s: list[float]) -> Sketch:
    """The distribution of these."""
    counts = Counter(map(_bucket, durations_s))
    return Sketch(dict(counts), max(durations_s, default=0.0))


def _bucket(duration_s: float) -> int:
    if duration_s <= LEAST_S:
        return 0
    # Rounded first: a duration at the very end of a bucket belongs to it.
    return min(ceil(round(log(duration_s / LEAST_S, GROWTH), 9)), BUCKETS_MAX - 1)
