"""The change feed: always the newest state, bounded memory of how it came, and followers who can be ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.unit.node.api.nodes import Served, serving
from vexil.node import served_changes
from vexil.node.errors import NodeNotReady, NotFound, StreamsFull
from vexil.node.feed import NAMES_MAX, STEPS_MAX, Feed
from vexil.node.feeds import ENVIRONMENT_GONE, IDLE_FEEDS_MAX, KEY_REVOKED, SHUTDOWN, WOKEN_AT_ONCE, Changes
from vexil.node.served_changes import ServedChanges

FLAGS = "/api/v1/projects/shop/flags"
ON: dict[str, Any] = {"environments": {"prod": {"enabled": True, "default": "on"}}}


@asynccontextmanager
async def following(**options: Any) -> AsyncIterator[tuple[Served, Changes]]:
    async with serving() as node:
        await node.flag("a", **ON)
        async with node.engine.feeds.follow("shop", "prod", **options) as changes:
            yield node, changes


async def switched(node: Served, *, on: bool, environment: str = "prod") -> None:
    await node.owner.patch(f"{FLAGS}/a", {"environments": {environment: {"enabled": on}}})


def served(node: Served) -> str:
    return node.engine.projects["shop"].flag_set("prod").version


async def test_a_follower_gets_the_present_version_and_then_the_newest(autojump_clock: object) -> None:
    async with following() as (node, changes):
        assert await anext(changes) == served(node)
        for number in range(5):
            await switched(node, on=bool(number % 2))
        assert await anext(changes) == served(node)
        with trio.move_on_after(10) as waiting:
            await anext(changes)
        assert waiting.cancelled_caught


async def test_of_many_followers_only_some_go_on_in_one_turn(autojump_clock: object) -> None:
    many, told, seen = 3 * WOKEN_AT_ONCE, 0, []

    async with following() as (node, _), trio.open_nursery() as nursery:

        async def follow() -> None:
            nonlocal told
            async with node.engine.feeds.follow("shop", "prod") as changes:
                await anext(changes)
                await anext(changes)
                told += 1

        for _ in range(many):
            nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(partial(switched, node, on=False))
        while told < many:
            before = told
            await trio.lowlevel.checkpoint()
            seen.append(told - before)
    # A turn of this task may fall before or behind those of the others.
    assert max(seen) <= 2 * WOKEN_AT_ONCE


async def test_another_environment_or_a_description_is_no_news(autojump_clock: object) -> None:
    async with following() as (node, changes):
        await anext(changes)
        await switched(node, on=True, environment="dev")
        await node.owner.patch(f"{FLAGS}/a", {"description": "other"})
        assert not await changes.look(10)
        assert changes.feed.version == served(node)
        await switched(node, on=False)
        assert await changes.look(10)


async def test_what_is_known_of_the_way_is_bounded(autojump_clock: object) -> None:
    async with following() as (node, changes):
        feed = changes.feed
        start = feed.position.number
        for number in range(STEPS_MAX):
            await switched(node, on=bool(number % 2))
        assert feed.since(start) is not None
        await switched(node, on=bool(STEPS_MAX % 2))
        assert feed.since(start) is None
        delta = feed.since(start + 1)
        assert delta is not None
        assert delta.flags == {"a"}
        assert len(list(feed.positions())) == STEPS_MAX + 1


async def test_a_step_with_too_many_names_is_not_kept(autojump_clock: object) -> None:
    async with following() as (_, changes):
        feed = changes.feed
        found = ServedChanges()
        found.flags["prod"] = {f"f{number}": False for number in range(NAMES_MAX + 1)}
        number = feed.position.number
        feed.advance(found)
        assert feed.since(number) is None
        assert changes.behind


async def test_so_many_names_of_a_batch_become_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_changes, "NOTED_MAX", 10)
    noted = ServedChanges()
    noted.members("s", [f"u{number}" for number in range(10)], frozenset())
    assert not noted.whole
    noted.members("s", ["one more"], frozenset())
    assert noted.whole


async def test_a_state_with_the_same_vector_is_not_taken_for_the_other(autojump_clock: object) -> None:
    async with following() as (node, changes):
        feed, project = changes.feed, node.engine.projects["shop"]
        vv = dict(project.replica.vv)
        position = feed.at(vv)
        assert position is not None
        assert position.number == feed.position.number
        # As after a repair: other documents, and the same changes behind them.
        assert project.served_changes is not None
        project.served_changes.flag("prod", "a", {"client_visible": False}, None)
        project.flag_set("prod").version = "mended"
        node.engine.feeds.advanced(project)
        assert feed.at(vv) is None
        assert feed.since(position.number) is None
        found = feed.at_version("mended")
        assert found == feed.position


async def test_a_state_that_comes_as_a_whole_is_told_as_a_whole(autojump_clock: object) -> None:
    async with following() as (node, changes):
        await anext(changes)
        project = node.engine.projects["shop"]
        number = changes.feed.position.number
        project.adopt(project.aside(project.replica))
        node.engine.feeds.advanced(project)
        assert changes.behind
        assert changes.feed.since(number) is None


async def test_nothing_is_noted_of_a_project_that_nobody_follows(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a", **ON)
        assert node.engine.projects["shop"].served_changes is None


async def test_there_is_a_bound_on_followers(autojump_clock: object) -> None:
    async with following() as (node, _):
        feeds = node.engine.feeds
        feeds.streams_max = 2
        async with feeds.follow("shop", "dev"):
            with pytest.raises(StreamsFull):
                async with feeds.follow("shop", "prod"):
                    pass
        async with feeds.follow("shop", "prod"):
            pass
        assert feeds.open == {"flagd": 1}


async def test_there_is_nothing_to_follow_where_nothing_is(autojump_clock: object) -> None:
    async with serving() as node:
        for place in (("nowhere", "prod"), ("shop", "nowhere")):
            with pytest.raises(NotFound):
                async with node.engine.feeds.follow(*place):
                    pass
        assert node.engine.feeds.open == {}


async def test_a_follower_whose_key_is_revoked_is_ended(autojump_clock: object) -> None:
    why: list[str] = []
    async with following(why_not=lambda: why[0] if why else None) as (node, changes):
        await anext(changes)
        await node.make_key(kind="server", project="shop", environment="prod")
        assert changes.ended is None
        why.append(KEY_REVOKED)
        await node.make_key(kind="server", project="shop", environment="prod")
        assert [version async for version in changes] == []
        assert changes.ended == KEY_REVOKED


async def test_followers_end_with_their_environment(autojump_clock: object) -> None:
    async with following() as (node, changes):
        await anext(changes)
        await node.owner.put("/api/v1/projects/shop", {"environments": ["dev"]})
        assert [version async for version in changes] == []
        assert changes.ended == ENVIRONMENT_GONE
        await node.owner.put("/api/v1/projects/shop", {"environments": ["dev", "prod"]})
        async with node.engine.feeds.follow("shop", "prod") as again:
            assert await anext(again) == served(node)
    assert node.engine.feeds.open == {"flagd": 0}


async def test_a_node_that_stops_ends_all_and_lets_nobody_in(autojump_clock: object) -> None:
    async with following() as (node, changes):
        node.engine.feeds.close()
        assert [version async for version in changes] == []
        assert changes.ended == SHUTDOWN
        with pytest.raises(NodeNotReady):
            node.engine.feeds.admit()


async def test_what_nobody_follows_is_kept_for_who_comes_back_within_bounds(autojump_clock: object) -> None:
    async with serving() as node:
        names = [f"e{number}" for number in range(IDLE_FEEDS_MAX + 1)]
        await node.owner.put("/api/v1/projects/shop", {"environments": names})
        kept: list[Feed] = []
        for name in names:
            async with node.engine.feeds.follow("shop", name) as changes:
                kept.append(changes.feed)
        async with node.engine.feeds.follow("shop", names[1]) as changes:
            assert changes.feed is kept[1]
        async with node.engine.feeds.follow("shop", names[0]) as changes:
            assert changes.feed is not kept[0]
