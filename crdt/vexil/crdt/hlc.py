"""Hybrid logical clocks: one 64-bit integer that is close to wall time and never runs backwards.

48 bits of milliseconds, 16 bits of counter (Kulkarni et al., *Logical Physical Clocks*, 2014). An HLC only arbitrates
between writes that had not seen each other; causality is told by version vectors. So a stamp that is too far ahead
is kept and passed on, but it does not drag this clock along: otherwise one bad machine moves the whole cluster into
next year.
"""

from __future__ import annotations

from datetime import UTC, datetime

COUNTER_BITS = 16
COUNTER_MASK = (1 << COUNTER_BITS) - 1
HLC_MAX = (1 << 64) - 1
RENDERABLE_MS_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999: later stamps are shown as this one."""


def pack(ms: int, counter: int = 0) -> int:
    """The HLC of ``ms`` milliseconds since the Unix epoch and a 16-bit counter."""
    return (ms << COUNTER_BITS) | counter


def milliseconds(hlc: int) -> int:
    """Milliseconds since the Unix epoch."""
    return hlc >> COUNTER_BITS


def counter(hlc: int) -> int:
    """The counter among equal milliseconds."""
    return hlc & COUNTER_MASK


def render_time(ms: int) -> str:
    """RFC 3339 in UTC with milliseconds; total, times past year 9999 are shown as its end."""
    ms = max(0, min(ms, RENDERABLE_MS_MAX))
    moment = datetime.fromtimestamp(ms // 1000, tz=UTC).replace(microsecond=ms % 1000 * 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def render(hlc: int) -> str:
    """``<RFC 3339 time>+<counter>``, as the API shows it."""
    return f"{render_time(milliseconds(hlc))}+{counter(hlc)}"


class HybridClock:
    """The HLC of one node. Wall time is passed in: this module never asks for it."""

    __slots__ = ("ahead_limit_ms", "last")

    def __init__(self, *, ahead_limit_ms: int) -> None:
        """A clock at zero; stamps more than ``ahead_limit_ms`` past the local wall clock do not advance it."""
        self.ahead_limit_ms = ahead_limit_ms
        self.last = 0

    def tick(self, wall_ms: int) -> int:
        """The stamp of a local event: strictly above every earlier stamp of this clock.

        A counter that overflows carries into the milliseconds, which keeps the order.
        """
        self.last = max(pack(wall_ms), self.last + 1)
        return self.last

    def believed(self, wall_ms: int) -> int:
        """The highest stamp that is not too far ahead of the local wall clock to be believed."""
        return pack(wall_ms + self.ahead_limit_ms, COUNTER_MASK)

    def is_suspect(self, hlc: int, wall_ms: int) -> bool:
        """Whether ``hlc`` is above `believed`."""
        return hlc > self.believed(wall_ms)

    def observe(self, hlc: int, wall_ms: int) -> bool:
        """Take a received stamp into account; later ticks are above it unless it is suspect.

        Returns True if the stamp is suspect; the clock has then not moved.
        """
        if self.is_suspect(hlc, wall_ms):
            return True
        self.last = max(self.last, hlc)
        return False
