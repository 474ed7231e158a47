"""Writes are decided one after the other on the state that they change, and are nowhere before they are durable."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import trio

from tests.unit.node.engine.world import (
    EU_2,
    FLAG,
    SHOP,
    GatedJournal,
    Stranger,
    check_roots,
    creates,
    flag_writes,
    node,
    pull,
    push,
    sets,
    shop,
    state_of,
    write,
)
from vexil.crdt.pen import CellWrite
from vexil.node import errors
from vexil.node.authoring.intent import Intent
from vexil.node.engine import Engine
from vexil.node.engine_types import Written
from vexil.node.gossip import messages
from vexil.node.gossip.messages import Message
from vexil.node.pipeline import BATCH_LOCAL_MAX, QUEUED_LOCAL_MAX
from vexil.node.project import Project
from vexil.node.seams import PeerIdentity

Decide = Callable[[Project], Intent]


class Results:
    """What became of writes that were begun together, by name."""

    def __init__(self) -> None:
        self.written: dict[str, Written] = {}
        self.failed: dict[str, Exception] = {}

    async def run(self, engine: Engine, name: str, decide: Decide) -> None:
        try:
            self.written[name] = await write(engine, decide)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must be this caller's alone
            self.failed[name] = error


async def in_one_queue(engine: Engine, journal: GatedJournal, decisions: dict[str, Decide]) -> Results:
    """Make every decision while the journal is busy, so that all of them wait when it becomes free."""
    results = Results()
    journal.hold()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(results.run, engine, "blocker", creates("blocker"))
        await trio.sleep(0.01)
        for name, decide in decisions.items():
            nursery.start_soon(results.run, engine, name, decide)
            await trio.sleep(0.001)
        assert engine.pipeline.queued == len(decisions)
        journal.let_go()
    del results.written["blocker"]
    return results


def description(engine: Engine, key: str) -> str:
    state = shop(engine).flag(key)
    assert state is not None
    return state.description


def appends(key: str, letter: str, *, expecting: str | None = None) -> Decide:
    """Reads the description and writes one letter more; refuses if it is not what the author saw."""

    def decide(project: Project) -> Intent:
        state = project.flag(key)
        assert state is not None
        if expecting is not None and state.description != expecting:
            raise errors.Stale("flag", None, "it has changed")
        return sets(key, "description", state.description + letter)(project)

    return decide


async def test_writes_of_one_object_see_each_other_in_the_order_of_their_coming(
    autojump_clock: object,
) -> None:
    async with node() as (place, engine):
        await write(engine, creates("f"))
        letters = [chr(0x100 + n) for n in range(BATCH_LOCAL_MAX + 20)]  # more than one batch looks at
        results = await in_one_queue(engine, place.journal, {c: appends("f", c) for c in letters})
        assert description(engine, "f") == "".join(letters)
        dots = [results.written[c].dot for c in letters]
        assert dots == [(engine.incarnation, 3 + n) for n in range(len(letters))]
        check_roots(engine)


async def test_of_two_conditional_writes_of_one_object_the_second_is_refused(autojump_clock: object) -> None:
    async with node() as (place, engine):
        await write(engine, creates("f"))
        decisions = {c: appends("f", c, expecting="") for c in "ab"}
        results = await in_one_queue(engine, place.journal, decisions)
        assert list(results.written) == ["a"]
        assert isinstance(results.failed["b"], errors.Stale)
        assert description(engine, "f") == "a"


async def test_a_write_that_only_read_an_object_is_decided_after_the_one_that_writes_it(
    autojump_clock: object,
) -> None:
    """A prerequisite is checked against the flag that it names, though that flag is not written."""

    def copies(project: Project) -> Intent:
        source = project.flag("source")
        assert source is not None
        target = sets("target", "description", source.description)(project)
        return Intent(target.writes, reads=frozenset({"flag/source"}))

    async with node() as (place, engine):
        await write(engine, creates("source"))
        await write(engine, creates("target"))
        decisions = {"write": sets("source", "description", "new"), "copy": copies}
        await in_one_queue(engine, place.journal, decisions)
        assert description(engine, "target") == "new"


async def test_writes_of_different_objects_share_one_append(autojump_clock: object) -> None:
    async with node() as (place, engine):
        before = place.disk.frames
        await in_one_queue(engine, place.journal, {k: creates(k) for k in "abcdefgh"})
        assert place.disk.frames == before + 2  # the blocker's, and one for all of them
        assert set(shop(engine).flag_keys()) == {*"abcdefgh", "blocker"}


def divides(_: Project) -> Intent:
    raise ZeroDivisionError


def answers_nothing(_: Project) -> Intent:
    return None  # type: ignore[return-value]


def writes_no_json(_: Project) -> Intent:
    return Intent([CellWrite("flag/x", (0, 0), "description", object())])


def writes_twice(_: Project) -> Intent:
    return Intent([*flag_writes("x"), *flag_writes("x")])


@pytest.mark.parametrize("bad", [divides, answers_nothing, writes_no_json, writes_twice])
async def test_a_decision_that_fails_fails_only_its_own_caller(autojump_clock: object, bad: Decide) -> None:
    async with node() as (place, engine):
        decisions = {"a": creates("a"), "bad": bad, "b": creates("b")}
        results = await in_one_queue(engine, place.journal, decisions)
        assert list(results.failed) == ["bad"]
        assert not isinstance(results.failed["bad"], errors.ApiError)
        assert shop(engine).flag_keys() == ["a", "b", "blocker"]
        # It took no dot with it.
        assert sorted(w.dot[1] for w in results.written.values() if w.dot is not None) == [2, 3]
        await write(engine, creates("c"))
        assert (await Stranger().follow(engine)).replica.root == shop(engine).replica.root


async def test_a_decision_to_write_nothing_is_an_answer_without_a_change(autojump_clock: object) -> None:
    async with node() as (place, engine):
        before, frames = state_of(engine), place.disk.frames
        written = await write(engine, lambda _: Intent())
        assert (written.change_id, written.dot, written.hlc) == (None, None, None)
        assert written.token == shop(engine).replica.vv
        assert (state_of(engine), place.disk.frames) == (before, frames)


async def test_too_many_waiting_writes_are_refused_and_all_others_happen(autojump_clock: object) -> None:
    async with node() as (place, engine):
        await write(engine, creates("f"))
        decisions = {str(n): partial(_one_cell, n) for n in range(QUEUED_LOCAL_MAX)}
        results = Results()
        place.journal.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(results.run, engine, "blocker", creates("blocker"))
            await trio.sleep(0.01)
            for name, decide in decisions.items():
                nursery.start_soon(results.run, engine, name, decide)
            await trio.sleep(0.01)
            with pytest.raises(errors.RateLimited):
                await write(engine, creates("one more"))
            frames = place.disk.frames
            place.journal.let_go()
        assert len(results.written) == QUEUED_LOCAL_MAX + 1
        assert place.disk.frames == frames + 1 + QUEUED_LOCAL_MAX // BATCH_LOCAL_MAX
        assert shop(engine).replica.vv == {engine.incarnation: QUEUED_LOCAL_MAX + 2}
        assert shop(engine).flag("one more") is None


def _one_cell(n: int, project: Project) -> Intent:
    return Intent([CellWrite(f"flag/many-{n}", (0, 0), "kill/prod", False)])


# -- giving up


async def test_a_caller_that_gives_up_before_its_turn_has_written_nothing(autojump_clock: object) -> None:
    async with node() as (place, engine):
        place.journal.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, engine, creates("blocker"))
            await trio.sleep(0.01)
            with trio.move_on_after(0.01) as scope:
                await write(engine, creates("abandoned"))
            assert scope.cancelled_caught
            assert engine.pipeline.queued == 0
            place.journal.let_go()
        await write(engine, creates("later"))
        assert shop(engine).flag_keys() == ["blocker", "later"]


async def test_a_caller_that_gives_up_after_its_turn_has_written(autojump_clock: object) -> None:
    async with node() as (place, engine):
        place.journal.hold()
        with trio.move_on_after(0.01) as scope:
            await write(engine, creates("seen-through"))
        assert scope.cancelled_caught
        assert shop(engine).flag_keys() == []
        place.journal.let_go()
        await write(engine, creates("later"))
        assert shop(engine).flag_keys() == ["later", "seen-through"]
        assert (await Stranger().follow(engine)).replica.root == shop(engine).replica.root


# -- durable first


@pytest.mark.parametrize("first", ["local", "remote"])
async def test_nothing_is_visible_sent_or_confirmed_before_the_journal_has_it(
    autojump_clock: object, first: str
) -> None:
    async with node() as (place, engine):
        sent: list[Message] = []

        def taking(caller: PeerIdentity, method: str, message: Message) -> dict[str, object]:
            sent.append(message)
            return {"have": {}, "gaps": []}

        place.board.scripts["p://eu-2"] = taking
        await trio.sleep(5)
        sent.clear()
        before = state_of(engine)
        place.journal.hold()
        theirs = Stranger().create("theirs")
        answers: list[object] = []

        async def local() -> None:
            answers.append(await write(engine, creates("mine")))

        async def remote() -> None:
            answers.append(await push(engine, [theirs]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(local if first == "local" else remote)
            await trio.sleep(0.01)
            nursery.start_soon(remote if first == "local" else local)
            await trio.sleep(60)
            assert len(place.journal.waiting) == 1
            assert answers == []
            assert sent == []
            assert state_of(engine) == before
            assert shop(engine).flag_keys() == []
            assert shop(engine).flag_set("prod").flags == {}
            assert await pull(engine, {}) == []
            assert engine.status()["projects"][SHOP]["changes"] == 0
            digest = messages.encode({"wall_ms": 1, "ages": {}, "projects": {}})
            told = Message.decode(await engine.peer_service.serve(EU_2, "digest", digest))
            assert told.heads_by_project("projects")[SHOP][0] == {}
            assert not await engine.wait_for(SHOP, {theirs.incarnation: 1}, 1_000)
            place.journal.let_go()
        await trio.sleep(1)
        assert len(answers) == 2
        assert shop(engine).flag_keys() == ["mine", "theirs"]
        assert [len(m.changes_by_project("changes")[SHOP]) for m in sent] == [1]


async def test_a_local_write_beside_a_received_one_is_concurrent_with_it(autojump_clock: object) -> None:
    """Both in one batch: what the author could not see is not replaced, and nobody else sees it otherwise."""
    async with node() as (place, engine):
        await write(engine, creates("f"))
        stranger = await Stranger().follow(engine)
        state = shop(engine).flag("f")
        assert state is not None
        touch = CellWrite("flag/f", state.generation, "exists", FLAG["exists"])
        theirs = stranger.write([touch, CellWrite("flag/f", state.generation, "description", "theirs")])
        place.journal.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, engine, creates("blocker"))
            await trio.sleep(0.01)
            nursery.start_soon(push, engine, [theirs])
            nursery.start_soon(write, engine, sets("f", "description", "mine"))
            await trio.sleep(0.01)
            frames = place.disk.frames
            place.journal.let_go()
        assert place.disk.frames == frames + 2
        kinds = [record.kind for record in shop(engine).conflicts()]
        assert kinds == ["lww"]
        await stranger.follow(engine)
        assert stranger.replica.root == shop(engine).replica.root
