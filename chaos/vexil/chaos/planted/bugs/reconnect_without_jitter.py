"""A client waits after a failure for as long as all others do: those that lose a node together come together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.sdk.client import following


@contextmanager
def _apply() -> Iterator[None]:
    def back_off_s(
        _: Random,
        failures: int,
        *,
        base_s: float,
        max_s: float,
        floor_s: float,
        retry_after_s: float = 0.0,
    ) -> float:
        return retry_after_s + max(floor_s, min(max_s, base_s * 2.0**failures))

    with patch.object(following, "back_off_s", back_off_s):
        yield


BUG: Final = PlantedBug(
    34, "reconnect without jitter", frozenset(("P18",)), _apply, profiles=frozenset(("crashes", "members"))
)
