"""The operating system behind the smallest seams (wall clock, randomness), and the pauses of commands."""

from __future__ import annotations

import os
import time


class SystemClock:
    """The wall clock as the operating system has it: it may be wrong and it may step."""

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000


class SystemEntropy:
    """Bytes of the operating system's cryptographic generator."""

    def token_bytes(self, count: int) -> bytes:
        """``count`` bytes that nobody can guess."""
        return os.urandom(count)


def pause(seconds: float) -> None:
    """Do nothing for a while: for commands, which have nothing else to do; a node never waits like this."""
    time.sleep(seconds)
