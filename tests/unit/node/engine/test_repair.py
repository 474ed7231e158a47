"""Two nodes with the same changes and other states become equal again, and say what was wrong; the log decides."""

from __future__ import annotations

from collections.abc import Callable

import trio

from tests.unit.node.engine.repair_worlds import (
    FIELD,
    believe,
    described,
    flip,
    level,
    place_of,
    put,
    repaired,
    settled,
    sound,
)
from tests.unit.node.engine.snapshot_worlds import (
    EU,
    US,
    fill,
    forget_log,
    state,
    two,
)
from tests.unit.node.engine.world import (
    Place,
    Switchboard,
    check_roots,
    make_shop,
    running,
    sets,
    shop,
    write,
)
from vexil.crdt import cell as cells
from vexil.crdt import payload as payloads
from vexil.crdt.cut import CUTS_MAX
from vexil.node import repair as repairing


async def test_a_flipped_byte_is_mended_and_reported(autojump_clock: object) -> None:
    async with two(behind=False) as both:
        await write(both.eu, sets("first", FIELD, "true"))
        await level(both)
        flip(both.us)
        believe(both.us)
        assert not both.same()
        await repaired(both)
        sound(both)
        told = both.us.status()
        assert told["alarms"]["repairs"] == 1
        assert told["alarms"]["divergences"] >= 1
        (report,) = told["repairs"]
        assert (report["project"], report["peer"], report["cells"]) == ("shop", EU, 1)
        (difference,) = report["differences"]
        assert (difference["object"], difference["field"]) == ("flag/first", FIELD)
        assert difference["theirs"] == difference["taken"] != difference["ours"]
        assert "'true'" in difference["taken"]
        assert any(event == "state mended" for event, _ in both.us_place.kept.errors)


async def test_whoever_is_right_changes_nothing(autojump_clock: object) -> None:
    async with two(behind=False) as both:
        await write(both.eu, sets("first", FIELD, "true"))
        await level(both)
        flip(both.eu)
        believe(both.eu)
        before = state(both.us)
        await repaired(both)
        assert state(both.us) == before
        assert both.us.status()["alarms"]["repairs"] == 0
        both.eu.repairs.want("shop", US)
        await settled(both.eu)
        sound(both)
        assert both.eu.status()["alarms"]["repairs"] == 1


async def test_a_cell_that_is_missing_comes_back(autojump_clock: object) -> None:
    async with two(behind=False) as both:
        await write(both.eu, sets("first", FIELD, "here"))
        await level(both)
        put(both.us, "first", FIELD, cells.EMPTY)
        believe(both.us)
        await repaired(both)
        sound(both)


async def test_an_object_that_is_missing_comes_back(autojump_clock: object) -> None:
    async with two(behind=False) as both:
        await level(both)
        name, generation = place_of(both.us)
        fields = dict(shop(both.us).replica.cells(name)[generation])
        shop(both.us).replica.put_cells(name, {generation: dict.fromkeys(fields, cells.EMPTY)})
        shop(both.us).refresh_objects([name])
        believe(both.us)
        assert list(shop(both.us).flag_keys()) == []
        await repaired(both)
        sound(both)
        assert list(shop(both.us).flag_keys()) == ["first"]


async def test_a_cell_too_many_goes(autojump_clock: object) -> None:
    async with two(behind=False) as both:
        await level(both)
        change = max(shop(both.us).replica.vv.items())
        made_up = cells.write(
            cells.EMPTY, dot=change, hlc=5, payload=payloads.encode("nobody", "made up"), replaced=()
        )
        put(both.us, "first", "tag/made-up", made_up)
        believe(both.us)
        await repaired(both)
        sound(both)


async def test_an_object_too_many_goes(autojump_clock: object) -> None:
    async with two(behind=False) as both:
        await level(both)
        change = max(shop(both.us).replica.vv.items())
        made_up = cells.write(
            cells.EMPTY, dot=change, hlc=5, payload=payloads.encode("nobody", {"epoch": 1, "type": "boolean"}),
            replaced=(),
        )  # fmt: skip
        shop(both.us).replica.put_cells("flag/made-up", {change: {"exists": made_up}})
        shop(both.us).refresh_objects(["flag/made-up"])
        believe(both.us)
        assert "made-up" in shop(both.us).flag_keys()
        await repaired(both)
        sound(both)
        assert "made-up" not in shop(both.us).flag_keys()


async def test_bytes_that_are_no_cell_any_more_are_replaced(autojump_clock: object) -> None:
    async with two(behind=False) as both:
        await write(both.eu, sets("first", FIELD, "here"))
        await level(both)
        name, generation = place_of(both.us)
        shop(both.us).replica.put_cells(name, {generation: {FIELD: b"\xc1\xff"}})
        shop(both.us).replica.root ^= 1
        shop(both.us).digest_cache = None
        await repaired(both)
        sound(both)


async def test_a_lane_that_was_replaced_does_not_come_back_where_its_end_was_lost(
    autojump_clock: object,
) -> None:
    """One side has collected a replaced lane and its end, the other one has lost the end alone: both must agree."""
    async with two(behind=False) as both:
        await write(both.eu, sets("first", FIELD, "old"))
        await level(both)
        old = shop(both.us).replica.cell(*place_of(both.us), FIELD)
        await write(both.us, sets("first", FIELD, "new"))
        await both.us._exchange.sync(both.peer)
        await level(both)
        new = shop(both.us).replica.cell(*place_of(both.us), FIELD)
        lane = cells.live(new)[0]
        kept = cells.write(cells.EMPTY, dot=lane[:2], hlc=lane.hlc, payload=lane.payload, replaced=())
        for engine in (both.us, both.eu):
            # As after a collection everywhere: the newer lane alone is left.
            put(engine, "first", FIELD, kept)
        put(both.eu, "first", FIELD, cells.join(kept, old))
        believe(both.eu)
        before = list(shop(both.us).replica.canonical())
        await repaired(both)
        assert list(shop(both.us).replica.canonical()) == before
        both.eu.repairs.want("shop", US)
        await settled(both.eu)
        sound(both)
        assert described(both.eu) == "new"


async def test_a_root_hash_that_is_not_that_of_the_cells_is_set_right(autojump_clock: object) -> None:
    async with two(behind=False) as both:
        await level(both)
        shop(both.us).replica.root ^= 1 << 70
        shop(both.us).digest_cache = None
        await repaired(both)
        sound(both)
        (report,) = both.us.status()["repairs"]
        assert (report["cells"], report["root"]) == (0, True)


async def test_without_a_row_the_join_decides_the_same_on_both_sides(autojump_clock: object) -> None:
    async with two(behind=False) as both:
        await write(both.eu, sets("first", FIELD, "true"))
        await level(both)
        await forget_log(both.eu)
        await forget_log(both.us)
        flip(both.us)
        believe(both.us)
        await repaired(both)
        both.eu.repairs.want("shop", US)
        await settled(both.eu)
        sound(both)


async def test_a_peers_row_decides_where_the_own_log_does_not_reach(autojump_clock: object) -> None:
    async with two(behind=False) as both:
        await write(both.eu, sets("first", FIELD, "true"))
        await level(both)
        await forget_log(both.us)
        for bit in (1, 2):
            # The larger bytes would win a join: one of these two is larger.
            name, generation = place_of(both.us)
            packed = shop(both.us).replica.cell(name, generation, FIELD)
            lane = cells.live(packed)[0]
            altered = bytearray(lane.payload)
            altered[-1] = altered[-1] + 1 if bit == 1 else altered[-1] - 1
            put(both.us, "first", FIELD, packed.replace(lane.payload, bytes(altered)))
            believe(both.us)
            await repaired(both)
            assert described(both.us) == "true"
            sound(both)


async def test_nothing_to_repair_is_silent(autojump_clock: object) -> None:
    async with two(behind=False) as both:
        await level(both)
        both.us.repairs.want("shop", EU)
        await settled(both.us)
        assert both.us.status()["repairs"] == []
        assert both.us.status()["alarms"]["repairs"] == 0
        assert both.us_place.kept.errors == []


async def test_a_scrub_finds_what_no_root_hash_shows(autojump_clock: object) -> None:
    async with two(behind=False) as both:
        await write(both.eu, sets("first", FIELD, "true"))
        await level(both)
        assert await both.us.repairs.scrub(shop(both.us))
        flip(both.us)
        assert shop(both.us).replica.root_hash() == shop(both.eu).replica.root_hash()
        assert not await both.us.repairs.scrub(shop(both.us))
        await settled(both.us)
        sound(both)
        assert both.us.status()["alarms"]["divergences"] == 1


async def test_a_scrub_comes_by_itself(autojump_clock: object) -> None:
    async with two(behind=False) as both:
        await level(both)
        flip(both.us, field="env/prod/default")
        await trio.sleep(2 * repairing.SCRUB_INTERVAL_S)
        await settled(both.us)
        sound(both)


async def test_three_nodes_agree_again_when_one_memory_has_failed(autojump_clock: object) -> None:
    board = Switchboard()
    places = [Place(EU, board=board, digests=True)]
    places += [Place(n, board=board, seeds=(f"p://{EU}",), digests=True) for n in ("us-1", "ap-1")]
    async with running(places[0].engine()) as eu:
        await make_shop(eu, members=())
        await fill(eu, "flag", 30)
        async with running(places[1].engine()) as us, running(places[2].engine()) as ap:
            engines = [eu, us, ap]

            def agreed() -> bool:
                states = [state(e) for e in engines if "shop" in e.projects]
                return len(states) == 3 and all(s == states[0] for s in states)

            async def until(holds: Callable[[], bool], limit_s: float) -> None:
                with trio.fail_after(limit_s):
                    while not holds():  # noqa: ASYNC110 - a whole cluster, looked at from outside
                        await trio.sleep(0.1)

            await until(agreed, 60)
            # Without the log behind its snapshot a node cannot tell whose cell is wrong, and takes the other one.
            await until(lambda: all("shop" in e.past.followed for e in (us, ap)), 60)
            for number in (3, 17, 29):
                flip(us, f"flag{number:03}")
            put(us, "flag005", FIELD, cells.EMPTY)
            believe(us)
            assert not agreed()
            await until(agreed, 120)
            await settled(us)
            for engine in engines:
                check_roots(engine)
            assert us.status()["alarms"]["repairs"] == 1
            assert us.status()["repairs"][0]["cells"] == 4
            assert [e.status()["alarms"]["repairs"] for e in (eu, ap)] == [0, 0]
            await write(ap, sets("flag003", FIELD, "after"))
            await until(agreed, 60)


async def test_no_cut_is_left_open(autojump_clock: object) -> None:
    async with two(behind=False) as both:
        await level(both)
        for _ in range(2 * CUTS_MAX):
            flip(both.us, field="env/prod/default")
            believe(both.us)
            await repaired(both)
            sound(both)
        assert len(shop(both.us).replica._cuts) == 0
