"""How long a node that failed is left alone: full jitter, bounded at both ends.

The one idea: when a node dies, thousands of clients notice in the same millisecond. Only randomness over the whole
span spreads them; only the floor keeps one client from spinning on a node that fails at once.
"""

from __future__ import annotations

import random
from typing import Final

_DOUBLINGS_MAX: Final = 30


def back_off_s(
    rng: random.Random,
    failures: int,
    *,
    base_s: float,
    max_s: float,
    floor_s: float,
    retry_after_s: float = 0.0,
) -> float:
    """Seconds until the next try after so many ``failures`` in a row (from 1).

    What the node asked for (``retry_after_s``) comes first, the jitter on top of it.
    """
    span_s = min(max_s, base_s * 2.0 ** min(failures, _DOUBLINGS_MAX))
    return retry_after_s + max(floor_s, rng.uniform(0.0, span_s))


def around_s(rng: random.Random, middle_s: float) -> float:
    """A time near ``middle_s``: for what is repeated for ever, so that clients which began together drift apart."""
    return rng.uniform(0.8, 1.2) * middle_s
