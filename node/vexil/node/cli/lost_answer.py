"""A write whose answer was lost: what is known of it, and whether it is worth repeating, and after which pause.

The one idea: a repetition that is refused says nothing about the first request, so its refusal never becomes the
outcome.
"""

from __future__ import annotations

from dataclasses import dataclass

from vexil.node.adapters.system import SystemEntropy
from vexil.node.cli.errors import Refused, Unreachable

ATTEMPTS_MAX = 2
"""An unknown outcome is asked about once more."""
REFUSED_REPETITIONS_MAX = 4
"""A repetition that is refused for now is sent again so many times."""
PAUSE_S_MIN = 0.5
PAUSE_S_MAX = 5.0
"""A node that wants to be left alone for longer is not waited for."""
PAUSE_JITTER = 0.5
"""A pause is longer by up to this share of it, so that those who were refused together do not come back together."""

_TOO_MANY = 429
_PASSING = frozenset(("node.not_ready", "rate.limited"))


class Unknown(Exception):
    """The request went out; whether it was done is not known."""

    def __init__(self, reason: str, change: str | None = None) -> None:
        """``change`` is its id, if the node named it."""
        super().__init__(reason)
        self.change = change


@dataclass(slots=True)
class Lost:
    """What is known of a write whose answer was lost ``count`` times."""

    count: int = 0
    change: str | None = None
    reason: str = ""
    pause_s: float = 0.0
    _refusals: int = 0

    def note(self, unknown: Unknown) -> None:
        """Nobody knows (again)."""
        self.count += 1
        self.change = unknown.change or self.change
        self.reason = str(unknown)
        self.pause_s = 0.0

    def worth_a_pause(self, refusal: Refused | Unreachable) -> bool:
        """Whether a repetition may be taken after ``pause_s``. Its refusal says nothing of the first request."""
        if isinstance(refusal, Unreachable):
            self.reason += f"; then {refusal.message}"
            return False
        if self._refusals == 0:
            self.reason += f"; then {refusal.problem_code} from {refusal.url}"
        passing = refusal.problem_code in _PASSING or refusal.status == _TOO_MANY
        if not passing or self._refusals == REFUSED_REPETITIONS_MAX:
            return False
        least_s = max(min(PAUSE_S_MIN * (1 << self._refusals), PAUSE_S_MAX), refusal.retry_after_s or 0.0)
        self._refusals += 1
        self.pause_s = least_s * (1 + PAUSE_JITTER * SystemEntropy().token_bytes(1)[0] / 255)
        return least_s <= PAUSE_S_MAX
