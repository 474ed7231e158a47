"""A project under new settings, read in turns: what is served meanwhile, what comes meanwhile, what is served then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import trio

from tests.unit.node.engine.world import (
    FLAG,
    SHOP,
    Place,
    Stranger,
    creates,
    flag_writes,
    make_shop,
    node,
    push,
    running,
    sets,
    shop,
    write,
)
from vexil.crdt.change import NO_GENERATION, Dot
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import NEW_GENERATION, CellWrite
from vexil.crdt.replica import Replica
from vexil.node.authoring.intent import Intent
from vexil.node.engine import Engine
from vexil.node.project import TURN_OBJECTS, Project
from vexil.node.rereading import Rereading

FLAGS = 4 * TURN_OBJECTS
BOTH = ("dev", "prod")


class CountedReplica(Replica):
    """Counts how often the cells of an object were read since it was last asked."""

    __slots__ = ("reads",)

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def cells(self, name: str) -> Mapping[Dot, Mapping[str, bytes]]:
        self.reads += 1
        return super().cells(name)


class Large:
    """A project of many flags and one segment under ``prod``; every flag says something of ``dev`` too."""

    def __init__(self) -> None:
        self.author = Stranger(7)
        self.replica = self.author.replica = CountedReplica()
        self.author.pen = type(self.author.pen)(self.replica, 7)
        self.project = self.under("prod")
        for n in range(FLAGS):
            self.write(*flag_writes(f"f{n:04}", **{"env/dev/enabled": True}))
        self.write(CellWrite("segment/s", NEW_GENERATION, "exists", {"epoch": 1}))

    def under(self, *environments: str) -> Project:
        """Another project over the same replica, read at once."""
        project = Project(SHOP, self.replica, on_defect=lambda *_: None)
        project.configure(environments, "v3")
        return project

    def write(self, *writes: CellWrite) -> None:
        self.project.refresh([self.author.write(writes)])

    def put(self, name: str, field: str, value: object) -> None:
        at = max(self.replica.objects[name])
        self.write(CellWrite(name, at, "exists", FLAG["exists"]), CellWrite(name, at, field, value))

    def delete(self, name: str) -> None:
        self.write(CellWrite(name, max(self.replica.objects[name]), "exists", TOMBSTONE))

    def served(self, project: Project) -> object:
        """Everything that is read of a project."""
        sets = {e: project.flag_set(e) for e in project.environments}
        return (
            {e: (dict(s.flags), dict(s.segments), dict(s.evaluators), s.version) for e, s in sets.items()},
            list(project.flag_keys()),
            list(project.segment_keys()),
            project.conflicts(),
            project.quarantined,
        )


async def read_again(there: Large, *environments: str, at_turn: Callable[[int], None]) -> int:
    """Give the project other environments; ``at_turn`` runs between the turns of the reading. How many there were."""
    done = trio.Event()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while not done.is_set():
            at_turn(turns)
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await Rereading(there.project, environments, "v3").run()
        done.set()
    return turns


async def test_others_get_their_turn_and_see_the_old_settings_until_all_is_read() -> None:
    there = Large()
    prod = there.project.flag_set("prod")
    before = there.served(there.project)
    most = 0

    def look(_: int) -> None:
        nonlocal most
        most = max(most, there.replica.reads)
        if there.project.environments == ("prod",):
            assert there.served(there.project) == before
        else:
            assert len(there.project.flag_set("dev").flags) == FLAGS
        there.replica.reads = 0

    there.replica.reads = 0
    assert await read_again(there, *BOTH, at_turn=look) >= FLAGS // TURN_OBJECTS
    # Twice as many if we were last in one round of the event loop and first in the next.
    assert 0 < most <= 2 * TURN_OBJECTS < FLAGS
    assert there.project.environments == BOTH
    assert there.served(there.project) == there.served(there.under(*BOTH))
    assert there.project.flag_set("prod") is prod, "who holds it goes on with it"


async def test_nothing_that_comes_meanwhile_is_lost() -> None:
    there = Large()

    def edit(turn: int) -> None:
        if turn == 0 or there.project.environments == BOTH:
            return
        # The first flags have been read by now, the last have not.
        there.put("flag/f0000", "env/dev/default", "off" if turn % 2 else "on")
        there.put(f"flag/f{FLAGS - 1:04}", "env/dev/enabled", False)
        there.put("flag/f0001", "env/dev/rule/r", f"no rule {turn}")
        there.put("segment/s", f"member/ada {turn}", True)
        if turn == 1:
            there.delete("flag/f0002")
            there.delete(f"flag/f{FLAGS - 2:04}")
            there.write(*flag_writes("new", **{"env/dev/enabled": True}))
            there.write(CellWrite("flagd/dev", NO_GENERATION, "evaluator/e", {"==": [1, 1]}))

    assert await read_again(there, *BOTH, at_turn=edit) > 2
    assert there.served(there.project) == there.served(there.under(*BOTH))
    dev = there.project.flag_set("dev")
    assert ("new" in dev.flags, "f0002" in dev.flags) == (True, False)
    assert "ada 1" in dev.segments["s"]["members"]
    assert dict(dev.evaluators) == {"e": {"==": [1, 1]}}
    there.put("flag/f0000", "env/dev/default", "on")
    assert there.served(there.project) == there.served(there.under(*BOTH)), "and it is followed from then on"


async def test_a_reading_that_is_given_up_leaves_no_trace() -> None:
    there = Large()
    before = there.served(there.project)
    with trio.CancelScope() as scope:
        await read_again(there, "dev", at_turn=lambda turn: scope.cancel() if turn == 1 else None)
    assert there.project.environments == ("prod",)
    assert there.served(there.project) == before
    assert there.project.followed_by is None, "nobody reads beside it any more"


# -- a node


async def large(engine: Engine) -> None:
    """More flags than one turn reads, come from elsewhere."""
    stranger = Stranger()
    await push(
        engine,
        [stranger.create(f"f{n}", **{"env/dev/enabled": True}) for n in range(FLAGS)],
    )
    assert len(shop(engine).flag_keys()) == FLAGS


def environments(**wanted: bool) -> Callable[[Project], Intent]:
    return lambda _: Intent(
        [
            CellWrite("project/shop", NO_GENERATION, f"environment/{e}", True if on else TOMBSTONE)
            for e, on in wanted.items()
        ]
    )


async def test_who_adds_an_environment_to_a_large_project_finds_it(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await large(engine)
        await engine.write("_system", environments(dev=True), author="ada", durability="node")
        assert len(shop(engine).flag_set("dev").flags) == FLAGS


async def test_who_waits_for_the_change_finds_the_environment_too(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await large(engine)
        other = await Stranger().follow(engine, "_system")
        await push(engine, [other.write(environments(dev=True)(engine.system).writes)], project="_system")
        assert shop(engine).environments == ("prod",)
        assert await engine.wait_for("_system", {0x99: 1}, 10_000)
        assert len(shop(engine).flag_set("dev").flags) == FLAGS


async def test_settings_that_change_again_and_again_end_as_the_last_ones(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await large(engine)
        other = await Stranger().follow(engine, "_system")
        steps: list[dict[str, bool]] = [
            {"dev": True},
            {"qa": True},
            {"dev": False},
            {"qa": False, "prod": False, "dev": True},
            {"prod": True},
        ]
        for step in steps:
            change = other.write(environments(**step)(engine.system).writes)
            await push(engine, [change], project="_system")
            await trio.lowlevel.checkpoint()
        assert await engine.wait_for("_system", {0x99: len(steps)}, 10_000)
        assert shop(engine).environments == BOTH
        for environment in BOTH:
            assert len(shop(engine).flag_set(environment).flags) == FLAGS
        await write(engine, sets("f0", "env/dev/default", "off"))
        assert shop(engine).flag_set("dev").flags["f0"]["default"] == "off"


async def test_settings_that_are_taken_back_while_they_are_read_are_not_served_in_the_end(
    autojump_clock: object,
) -> None:
    async with node() as (_, engine):
        await large(engine)
        prod = shop(engine).flag_set("prod")
        state = engine.directory.projects[SHOP]
        engine.directory.projects[SHOP] = replace(state, environments=BOTH)
        engine.following.configure(SHOP)
        while shop(engine).followed_by is None:
            await trio.lowlevel.checkpoint()
        engine.directory.projects[SHOP] = state
        engine.following.configure(SHOP)
        assert not engine.following.settled
        assert await engine.wait_for("_system", {}, 10_000)
        assert shop(engine).environments == ("prod",)
        assert shop(engine).flag_set("prod") is prod


async def test_a_start_gives_others_their_turn_while_it_reads(autojump_clock: object) -> None:
    place = Place()
    async with running(place.engine()) as engine:
        await make_shop(engine)
        await large(engine)
        await write(engine, creates("mine"), durability="region")
    again = place.engine()
    seen = {0}

    async def other() -> None:
        while max(seen) < FLAGS + 1:
            project = again.projects.get(SHOP)
            seen.add(0 if project is None else len(project.flag_keys()))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        async with running(again):
            assert len(shop(again).flag_keys()) == FLAGS + 1
    assert any(0 < count < FLAGS + 1 for count in seen)
