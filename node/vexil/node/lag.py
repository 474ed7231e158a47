"""How long changes took from their author's node to this one, per origin region."""

from __future__ import annotations

from collections import deque

SAMPLES_KEPT_MAX = 1_024


class LagWindow:
    """The last `SAMPLES_KEPT_MAX` lags of each origin region, in milliseconds."""

    __slots__ = ("_samples",)

    def __init__(self) -> None:
        """No samples."""
        self._samples: dict[str, deque[int]] = {}

    def add(self, region: str, lag_ms: int) -> None:
        """A change of ``region`` was applied ``lag_ms`` after its stamp."""
        self._samples.setdefault(region, deque(maxlen=SAMPLES_KEPT_MAX)).append(lag_ms)

    def summary(self) -> dict[str, dict[str, int]]:
        """Per region ``p50``, ``p99``, ``max``."""
        answer = {}
        for region in sorted(self._samples):
            ordered = sorted(self._samples[region])
            answer[region] = {
                "p50": ordered[len(ordered) // 2],
                "p99": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)],
                "max": ordered[-1],
            }
        return answer
