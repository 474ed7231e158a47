"""How much of the log one page of the history looks at, and how many lags a node remembers."""

from __future__ import annotations

import pytest

from tests.unit.node.engine.world import creates, node, shop, write
from vexil.node import history
from vexil.node.history import History
from vexil.node.lag import SAMPLES_KEPT_MAX, LagWindow


async def test_a_filter_that_matches_little_gets_early_pages_and_finds_everything_in_the_end(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "BATCH", 5)
    monkeypatch.setattr(history, "SCANNED_MAX", 10)
    async with node() as (place, engine):
        for n in range(42):
            await write(engine, creates(f"f{n}"))
        await engine.drain()
        pages: list[list[str]] = []
        token: str | None = None
        while not pages or token is not None:
            items, token = await History(place.store(), engine.directory).page(
                shop(engine), flag="f1", page_token=token
            )
            pages.append([item["fields"][0]["name"] for item in items])
        assert pages == [[], [], [], [], ["f1"]]


def test_of_too_many_lags_the_latest_count() -> None:
    window = LagWindow()
    for _ in range(SAMPLES_KEPT_MAX):
        window.add("us", 9_000)
    assert window.summary()["us"] == {"p50": 9_000, "p99": 9_000, "max": 9_000}
    for _ in range(SAMPLES_KEPT_MAX):
        window.add("us", 10)
    window.add("ap", 77)
    assert window.summary() == {
        "ap": {"p50": 77, "p99": 77, "max": 77},
        "us": {"p50": 10, "p99": 10, "max": 10},
    }
