"""The operating system behind the smallest seams: the wall clock and randomness."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Final

now_s: Final[Callable[[], float]] = time.time
"""Seconds since the Unix epoch. The function itself, and not one around it: rules call it in every evaluation."""


class SystemClock:
    """The wall clock as the operating system has it."""

    def now_s(self) -> float:
        """See ``Clock``."""
        return time.time()


def new_rng() -> random.Random:
    """A generator that no other process shares, a fork of this one neither."""
    return random.Random(os.urandom(16))
