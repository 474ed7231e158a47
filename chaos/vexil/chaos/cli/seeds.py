"""Seeds as they are typed.

``0..999`` has both ends in it, ``7`` is one, ``1000..`` has no end, ``fresh`` has none and begins with a drawn one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import click

from vexil.node.adapters.system import SystemEntropy

SEEDS_MAX: Final = 100_000_000
"""Of one campaign: more than a year of work for one machine."""
SEED_MAX: Final = 2**62
FRESH_BYTES: Final = 5
"""A fresh seed is one of so many bytes: nobody has run it before, and it can still be typed."""
_RANGE: Final = re.compile(r"(?P<first>\d+)(?P<dots>\.\.(?P<last>\d+)?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Seeds:
    """A range of seeds."""

    first: int
    last: int
    endless: bool = False
    """Nobody has said where it ends: ``last`` is where it would be too many."""

    def __str__(self) -> str:
        if self.endless:
            return f"{self.first}.."
        return f"{self.first}..{self.last}" if self.last != self.first else f"{self.first}"

    @property
    def range(self) -> range:
        """All of them."""
        return range(self.first, self.last + 1)


class SeedsType(click.ParamType[Seeds]):
    """What ``--seeds`` takes."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Seeds:
        """Read it; what is no range, or an empty or too long one, is a mistake of usage."""
        if isinstance(value, Seeds):
            return value
        if value == "fresh":
            first = int.from_bytes(SystemEntropy().token_bytes(FRESH_BYTES), "big")
            return Seeds(first, first + SEEDS_MAX - 1, endless=True)
        found = _RANGE.fullmatch(value)
        if found is None:
            self.fail(f"{value!r} is neither 0..999, 7, 1000.. nor fresh", param, ctx)
        first = int(found["first"])
        endless = bool(found["dots"]) and not found["last"]
        last = first + SEEDS_MAX - 1 if endless else int(found["last"] or first)
        if last < first:
            self.fail(f"{value!r} ends before it begins", param, ctx)
        if last - first >= SEEDS_MAX:
            self.fail(f"{value!r} are more than {SEEDS_MAX:,} seeds", param, ctx)
        if last > SEED_MAX:
            self.fail(f"{value!r} goes beyond {SEED_MAX:,}", param, ctx)
        return Seeds(first, last, endless)
