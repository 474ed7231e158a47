"""How far back a start reads the log for idempotency keys."""

from __future__ import annotations

import pytest

from tests.unit.node.engine.world import SHOP, creates, node, write
from vexil.node import recall
from vexil.node.recall import read_recent


async def test_a_start_reads_so_many_rows_back_and_those_are_the_newest(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall, "RECENT_BATCH", 2)
    monkeypatch.setattr(recall, "RECENT_ROWS_MAX", 4)
    async with node() as (place, engine):
        for n in range(7):
            await write(engine, creates(f"f{n}"), idempotency=(f"key-{n}", b"%d" % n * 16))
        await engine.drain()
        recent = await read_recent(place.store(), SHOP, wall_ms=place.clock.wall_ms(), believed=(1 << 64) - 1)
        named = [envelope.idempotency[0] for envelope in recent.keyed if envelope.idempotency]
        assert named == ["key-3", "key-4", "key-5", "key-6"]
        assert recent.hlc == recent.keyed[-1].hlc
