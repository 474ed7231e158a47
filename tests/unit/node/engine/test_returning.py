"""A node that has come back gives the cluster what only its earlier state holds: once, whatever cuts it off."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from random import Random

import pytest
import trio

from tests.unit.node.engine.world import (
    FLAG,
    SHOP,
    Place,
    Stranger,
    check_roots,
    creates,
    make_shop,
    push,
    running,
    sets,
    shop,
    write,
)
from vexil.crdt.change import NO_GENERATION, Change, decode
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import NEW_GENERATION, CellWrite
from vexil.node.engine import Engine
from vexil.node.idempotency import RETURN_PREFIX
from vexil.node.metrics import Metrics
from vexil.node.returning import Returning
from vexil.node.returns import Returns
from vexil.node.seams import LogRecord, MemberRow, StoreUnavailable

OLD = 0x99
"""The incarnation of the node before it was evicted."""
FOREIGN = 0x77


class Archive:
    """An archive in memory; ``failures`` reads of it fail first, each after so many batches."""

    registration = "00000000000000aa"
    slot = "eu-1"
    damaged = 0

    def __init__(self, *logs: tuple[str, Sequence[Change]], failures: Sequence[int] = ()) -> None:
        self.rows = [LogRecord(name, c.incarnation, c.seq, c.raw) for name, log in logs for c in log]
        self.failures = [*failures]
        self.discarded = 0

    async def row(self) -> MemberRow | None:
        await trio.lowlevel.checkpoint()
        return MemberRow(self.slot, start=1, revision=1, incarnation=OLD)

    async def records(self) -> AsyncIterator[Sequence[LogRecord]]:
        fails_after = self.failures.pop(0) if self.failures else None
        for number, row in enumerate(self.rows):
            if number == fails_after:
                raise StoreUnavailable("the disk does not answer")
            await trio.lowlevel.checkpoint()
            yield [row]

    async def discard(self) -> None:
        await trio.lowlevel.checkpoint()
        self.discarded += 1


def come_back(engine: Engine, archive: Archive) -> Returning:
    made = Returning(
        engine, engine.pipeline, engine.seams.store, archive, "eu-1", log=engine.seams.log, rng=Random(3)
    )
    engine.coming_back = Returns([made])
    return made


async def both(engine: Engine, *, before: Sequence[str] = ("f",)) -> Stranger:
    """The flags ``before``, and the pen of the node that it was, which knows them."""
    await make_shop(engine)
    for key in before:
        await write(engine, creates(key))
    return await Stranger(OLD).follow(engine)


def edit(
    old: Stranger, key: str, field: str, value: object, *, idempotency: tuple[str, bytes] | None = None
) -> Change:
    generation = max(old.replica.objects[f"flag/{key}"])
    return old.write(
        [
            CellWrite(f"flag/{key}", generation, "exists", {**FLAG["exists"], "created": 1}),  # type: ignore[dict-item]
            CellWrite(f"flag/{key}", generation, field, value),
        ],
        idempotency=idempotency,
    )


def told(returning: Returning) -> tuple[object, ...]:
    status = returning.status()
    return tuple(status[name] for name in ("changes", "done", "reissued", "parked", "finished"))


async def test_what_the_cluster_lacks_is_issued_again_or_parked(autojump_clock: object) -> None:
    place = Place()
    async with running(place.engine()) as engine:
        old = await both(engine)
        edit(old, "f", "owner", "mine", idempotency=("client's", b"print"))
        edit(old, "f", "description", "mine")
        old.create("g", description="made away")
        edit(old, "g", "owner", "later")
        await write(engine, sets("f", "description", "theirs"))
        archive = Archive((SHOP, old.log))
        returning = come_back(engine, archive)
        await returning.run()
        assert told(returning) == (4, 4, 3, 1, True)
        assert engine.status()["returning"] == {
            **returning.status(),
            "from": Archive.registration,
            "later": 0,
        }
        assert archive.discarded == 1
        metrics = Metrics()
        metrics.watch(engine.status)
        assert b"vexil_returning_reissued 3.0" in metrics.render()[0]
        f, g = shop(engine).flag("f"), shop(engine).flag("g")
        assert f is not None
        assert g is not None
        assert (f.owner, f.description, g.description, g.owner) == ("mine", "theirs", "made away", "later")
        [record] = shop(engine).conflicts()
        assert (record.kind, record.object, record.field, record.reason) == (
            "returned",
            "flag/f",
            "description",
            "changed",
        )
        assert shop(engine).conflict_count == engine.status()["projects"][SHOP]["conflicts"] == 1
        remembered = shop(engine).idempotency.lookup("client's")
        assert remembered is not None
        assert remembered.dot[0] == engine.incarnation
        check_roots(engine)


async def test_author_and_message_are_kept(autojump_clock: object) -> None:
    async with running(Place().engine()) as engine:
        old = await both(engine)
        change = edit(old, "f", "owner", "mine")
        await come_back(engine, Archive((SHOP, old.log))).run()
        await engine.drain()
        items, _ = await engine.history.page(shop(engine))
        assert items[0]["author"] == "stranger"
        assert items[0]["message"] == f"issued again: it was {change.id}"


async def test_what_the_cluster_has_is_left_alone(autojump_clock: object) -> None:
    async with running(Place().engine()) as engine:
        old = await both(engine)
        edit(old, "f", "owner", "mine")
        edit(old, "f", "owner", "mine again")
        await push(engine, old.log)
        before = dict(shop(engine).replica.vv)
        returning = come_back(engine, Archive((SHOP, old.log)))
        await returning.run()
        assert told(returning) == (0, 0, 0, 0, True)
        assert shop(engine).replica.vv == before


async def test_changes_of_others_are_parked_until_they_come_by_themselves(autojump_clock: object) -> None:
    async with running(Place().engine()) as engine:
        await both(engine)
        other = await Stranger(FOREIGN).follow(engine)
        edit(other, "f", "owner", "another's")
        returning = come_back(engine, Archive((SHOP, other.log)))
        await returning.run()
        assert told(returning) == (1, 1, 0, 1, True)
        [record] = shop(engine).conflicts()
        assert (record.reason, record.siblings[0].value) == ("other-origin", "another's")
        await push(engine, other.log)
        assert (shop(engine).conflicts(), shop(engine).conflict_count) == ([], 0)


async def test_projects_come_before_what_is_in_them(autojump_clock: object) -> None:
    async with running(Place().engine()) as engine:
        await make_shop(engine)
        system = await Stranger(OLD).follow(engine, "_system")
        system.write(
            [CellWrite("project/new", NO_GENERATION, f, True) for f in ("exists", "environment/prod")]
        )
        flags = Stranger(OLD)
        flags.create("a")
        # The archive has them the other way round.
        await come_back(engine, Archive(("new", flags.log), ("_system", system.log))).run()
        made = engine.project("new")
        assert made is not None
        assert made.flag("a") is not None
        assert made.environments == ("prod",)


async def test_old_incarnations_are_found_in_the_old_member_record(autojump_clock: object) -> None:
    async with running(Place().engine()) as engine:
        await both(engine)
        earlier = 0x55
        system = await Stranger(OLD).follow(engine, "_system")
        home = {"node": "eu-1", "region": "eu"}
        system.write([CellWrite("member/eu-1", NO_GENERATION, f"incarnation/{earlier:016x}", home)])
        old = await Stranger(earlier).follow(engine)
        edit(old, "f", "owner", "mine")
        returning = come_back(engine, Archive((SHOP, old.log), ("_system", system.log)))
        await returning.run()
        assert returning.status()["reissued"] == 1
        assert engine.directory.members["eu-1"].incarnations.get(earlier) is None


async def test_a_row_that_cannot_be_read_is_put_aside(autojump_clock: object) -> None:
    place = Place()
    async with running(place.engine()) as engine:
        await both(engine)
        archive = Archive()
        archive.rows = [LogRecord(SHOP, OLD, 1, b"\xc1")]
        returning = come_back(engine, archive)
        await returning.run()
        assert told(returning) == (1, 1, 0, 1, True)
        [aside] = await engine.seams.store.read_aside()
        assert (aside.project, aside.sender, aside.raw) == (SHOP, "eu-1", b"\xc1")


async def test_an_archive_that_does_not_answer_is_read_again(autojump_clock: object) -> None:
    async with running(Place().engine()) as engine:
        old = await both(engine)
        for number in range(3):
            edit(old, "f", "owner", f"mine {number}")
        archive = Archive((SHOP, old.log), failures=(1, 3, 2))
        returning = come_back(engine, archive)
        await returning.run()
        assert told(returning) == (3, 3, 3, 0, True)
        flag = shop(engine).flag("f")
        assert flag is not None
        assert flag.owner == "mine 2"


def many(old: Stranger) -> None:
    edit(old, "f", "owner", "mine")
    old.create("g", description="made away")
    edit(old, "g", "owner", "once", idempotency=("client's", b"print"))
    edit(old, "f", "description", "mine")
    edit(old, "g", "owner", "twice")
    old.write(
        [
            CellWrite("flag/g", max(old.replica.objects["flag/g"]), "exists", FLAG["exists"]),
            CellWrite("flag/g", NO_GENERATION, "kill/prod", True),
        ]
    )
    old.write(
        [
            CellWrite("segment/s", NEW_GENERATION, f, v)
            for f, v in {"exists": {"epoch": 1}, "member/a": True}.items()
        ]
    )


@pytest.mark.parametrize("done", range(8))
async def test_a_crash_at_any_point_neither_loses_nor_repeats_anything(
    done: int, autojump_clock: object
) -> None:
    place = Place()
    async with running(place.engine()) as engine:
        old = await both(engine)
        many(old)
        await write(engine, sets("f", "description", "theirs"))
        archive = Archive((SHOP, old.log))
        returning = come_back(engine, archive)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(returning.run)
            with trio.fail_after(60):
                while returning.status()["done"] < done:
                    await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    async with running(place.engine()) as engine:
        # So long that nobody remembers the keys of clients any more.
        shop(engine).idempotency.forget_before(1 << 50)
        returning = come_back(engine, archive)
        await returning.run()
        assert told(returning) == (7, 7, 6, 1, True)
        keys = [c.idempotency[0] for c in await changes(engine) if c.idempotency is not None]
        assert len(keys) == len(set(keys)) == 7
        g = shop(engine).flag("g")
        assert g is not None
        assert (g.description, g.owner, g.environments["prod"].kill) == ("made away", "twice", True)
        assert shop(engine).segment("s") is not None
        assert [(r.object, r.field) for r in shop(engine).conflicts()] == [("flag/f", "description")]
        check_roots(engine)


async def changes(engine: Engine) -> list[Change]:
    """The whole log."""
    rows = await engine.own_log.read(SHOP, after={}, through=shop(engine).replica.vv, limit_bytes=1 << 30)
    return [decode(row.raw) for row in rows]


async def test_what_clients_write_meanwhile_is_not_overwritten(autojump_clock: object) -> None:
    place = Place()
    async with running(place.engine()) as engine:
        old = await both(engine)
        edit(old, "f", "owner", "mine")
        generation = max(old.replica.objects["flag/f"])
        old.write([CellWrite("flag/f", generation, "exists", TOMBSTONE)])
        # A client of the node itself: its lane will be replaced by the touch of the edit that is issued again.
        await write(engine, sets("f", "description", "of a client"))
        returning = come_back(engine, Archive((SHOP, old.log)))
        await returning.run()
        assert told(returning) == (2, 2, 1, 1, True)
        flag = shop(engine).flag("f")
        assert flag is not None
        assert (flag.owner, flag.description) == ("mine", "of a client")


async def test_a_key_that_its_client_has_used_for_something_else_does_not_lose_the_change(
    autojump_clock: object,
) -> None:
    async with running(Place().engine()) as engine:
        old = await both(engine)
        edit(old, "f", "owner", "mine", idempotency=("k", b"one"))
        await write(engine, sets("f", "description", "else"), idempotency=("k", b"two"))
        returning = come_back(engine, Archive((SHOP, old.log)))
        await returning.run()
        flag = shop(engine).flag("f")
        assert flag is not None
        assert flag.owner == "mine"


async def test_a_change_that_its_client_has_made_elsewhere_is_not_made_twice(autojump_clock: object) -> None:
    async with running(Place().engine()) as engine:
        old = await both(engine)
        edit(old, "f", "owner", "first", idempotency=("k", b"one"))
        await write(engine, sets("f", "owner", "first"), idempotency=("k", b"one"))
        await write(engine, sets("f", "owner", "second"))
        returning = come_back(engine, Archive((SHOP, old.log)))
        await returning.run()
        flag = shop(engine).flag("f")
        assert flag is not None
        assert (flag.owner, shop(engine).conflicts()) == ("second", [])


async def test_history_tells_a_parked_change_where_it_belongs(autojump_clock: object) -> None:
    async with running(Place().engine()) as engine:
        old = await both(engine)
        change = edit(old, "f", "owner", "mine")
        await write(engine, sets("f", "owner", "theirs"))
        await come_back(engine, Archive((SHOP, old.log))).run()
        await engine.drain()
        items, _ = await engine.history.page(shop(engine), flag="f", page_size=1)
        assert items[0]["author"] == "node:eu-1"
        [field] = items[0]["fields"]
        assert (field["kind"], field["name"]) == ("flag", "f")
        assert field["field"] == f"parked/{change.incarnation:016x}.{change.seq}"
        assert (field["after"]["reason"], field["after"]["writes"]) == ("changed", {"owner": "mine"})


async def test_parked_changes_are_listed_after_a_restart(autojump_clock: object) -> None:
    place = Place()
    async with running(place.engine()) as engine:
        await both(engine)
        system = await Stranger(OLD).follow(engine, "_system")
        system.write([CellWrite("member/us-1", NO_GENERATION, "evicted/00000000000000bb", {"by": "ada"})])
        await come_back(engine, Archive(("_system", system.log))).run()
        assert engine.system.conflict_count == 1
    async with running(place.engine()) as engine:
        [record] = engine.system.conflicts()
        assert (record.reason, record.object) == ("membership", "member/us-1")


async def test_two_changes_of_one_id_both_come_to_something(autojump_clock: object) -> None:
    async with running(Place().engine()) as engine:
        old, twin = await both(engine), await Stranger(OLD).follow(engine)
        one = edit(old, "f", "description", "mine")
        other = edit(twin, "f", "description", "the twin's")
        assert one.dot == other.dot
        await write(engine, sets("f", "description", "theirs"))
        returning = come_back(engine, Archive((SHOP, [one, other])))
        await returning.run()
        assert told(returning) == (2, 2, 0, 2, True)
        [record] = shop(engine).conflicts()
        assert record.siblings[0].value == "mine"
        [aside] = await engine.seams.store.read_aside()
        assert (aside.raw, aside.reason) == (other.raw, "returned: another change has its id")
        assert engine.alarms.aside_count == 1


async def test_a_change_whose_key_is_taken_is_put_aside_and_the_next_one_comes_back(
    autojump_clock: object,
) -> None:
    async with running(Place().engine()) as engine:
        old = await both(engine)
        first = edit(old, "f", "owner", "mine")
        edit(old, "f", "description", "mine too")
        taken = f"{RETURN_PREFIX}{first.id}/{first.chain.hex()[:16]}"
        stranger = await Stranger(FOREIGN).follow(engine)
        edit(stranger, "f", "tag/x", True, idempotency=(taken, b"another"))
        await push(engine, stranger.log)
        returning = come_back(engine, Archive((SHOP, old.log)))
        await returning.run()
        assert told(returning) == (2, 2, 1, 1, True)
        [aside] = await engine.seams.store.read_aside()
        assert aside.raw == first.raw


async def test_all_that_was_left_behind_is_brought_back_in_one_life(autojump_clock: object) -> None:
    place = Place()
    async with running(place.engine()) as engine:
        first = await both(engine, before=("f", "g"))
        second = await Stranger(FOREIGN).follow(engine)
        edit(first, "f", "owner", "first")
        edit(second, "g", "owner", "second")
        archives = Archive((SHOP, first.log)), Archive((SHOP, second.log))
        returns = Returns(
            [
                Returning(
                    engine,
                    engine.pipeline,
                    engine.seams.store,
                    one,
                    "eu-1",
                    log=engine.seams.log,
                    rng=Random(3),
                )
                for one in archives
            ]
        )
        assert (returns.status()["finished"], returns.status()["later"]) == (False, 1)
        await returns.run()
        assert [one.discarded for one in archives] == [1, 1]
        status = returns.status()
        assert (status["done"], status["finished"], status["later"]) == (2, True, 0)
        f = shop(engine).flag("f")
        assert f is not None
        assert f.owner == "first"
