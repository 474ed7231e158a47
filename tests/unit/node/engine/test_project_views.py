"""What is read of a project: one broken object harms itself alone, settings are followed, few cells are read again."""

from __future__ import annotations

from collections.abc import ItemsView, Sequence
from random import Random

import pytest

from tests.unit.node.engine.world import FLAG, Stranger, creates, flag_writes, node, push, shop, write
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import NEW_GENERATION, CellWrite
from vexil.node.authoring.intent import Intent
from vexil.node.project import INTERNAL_DEFECT, Project


class Brittle(Project):
    """A project whose reader has a bug that some objects bring out."""

    poison: frozenset[str] = frozenset()

    def _refresh_flag(self, name: str, key: str) -> None:
        if name in self.poison:
            raise RecursionError(name)
        super()._refresh_flag(name, key)

    def _refresh_segment(self, name: str, key: str, fields: Sequence[str]) -> None:
        if name in self.poison:
            raise ZeroDivisionError(name)
        super()._refresh_segment(name, key, fields)


class Shop:
    """A project without an engine: changes are applied, then read, as the pipeline does."""

    def __init__(self, *environments: str) -> None:
        self.author = Stranger(7)
        self.defects: list[tuple[str, str, str]] = []
        self.project = Brittle("shop", self.author.replica, on_defect=self._defect)
        self.project.configure(environments or ("prod",), "v3")

    def _defect(self, project: str, name: str, error: Exception) -> None:
        self.defects.append((project, name, type(error).__name__))

    def write(self, *writes: CellWrite) -> None:
        self.project.refresh([self.author.write(writes)])

    def create(self, key: str, **fields: object) -> None:
        self.write(*flag_writes(key, **fields))

    def generation(self, name: str) -> tuple[int, int]:
        return max(self.author.replica.objects[name])

    def put(self, name: str, field: str, value: object) -> None:
        at = self.generation(name)
        self.write(CellWrite(name, at, "exists", FLAG["exists"]), CellWrite(name, at, field, value))

    def delete(self, name: str) -> None:
        self.write(CellWrite(name, self.generation(name), "exists", TOMBSTONE))


def segment(key: str, members: Sequence[str] = ()) -> list[CellWrite]:
    name = f"segment/{key}"
    fields = {"exists": {"epoch": 1}, **{f"member/{m}": True for m in members}}
    return [CellWrite(name, NEW_GENERATION, f, v) for f, v in fields.items()]


# -- one broken object


def test_an_object_that_our_reader_fails_on_is_quarantined_alone() -> None:
    there = Shop()
    there.create("good")
    there.project.poison = frozenset({"flag/bad", "segment/bad"})
    # All in one change: the others are read in spite of it.
    there.write(
        *flag_writes("a"), *flag_writes("bad"), *segment("bad", "x"), *segment("s", "y"), *flag_writes("z")
    )
    assert list(there.project.flag_keys()) == ["a", "good", "z"]
    assert list(there.project.segment_keys()) == ["s"]
    assert there.project.quarantined == {"flag/bad": INTERNAL_DEFECT, "segment/bad": INTERNAL_DEFECT}
    assert there.defects == [
        ("shop", "flag/bad", "RecursionError"),
        ("shop", "segment/bad", "ZeroDivisionError"),
    ]
    served = there.project.flag_set("prod")
    assert set(served.flags) == {"a", "good", "z"}
    assert served.version == there.project.replica.root_hash()


def test_what_was_served_of_an_object_stays_while_it_cannot_be_read() -> None:
    there = Shop()
    there.create("f")
    before = there.project.flag_set("prod").flags["f"]
    there.project.poison = frozenset({"flag/f"})
    there.put("flag/f", "env/prod/default", "off")
    assert there.project.flag_set("prod").flags["f"] == before
    there.project.poison = frozenset()
    there.put("flag/f", "description", "read again")
    assert there.project.quarantined == {}
    assert there.project.flag_set("prod").flags["f"]["default"] == "off"


def test_a_segment_that_could_not_be_read_is_read_as_a_whole_afterwards() -> None:
    there = Shop()
    there.write(*segment("s", ["a"]))
    there.project.poison = frozenset({"segment/s"})
    there.put("segment/s", "member/missed", True)
    there.project.poison = frozenset()
    there.put("segment/s", "member/b", True)
    state = there.project.segment("s")
    assert state is not None
    assert state.members == {"a", "missed", "b"}
    assert there.project.quarantined == {}


def test_a_broken_flag_is_on_the_off_path_and_named_until_it_is_mended() -> None:
    there = Shop()
    there.create("f", exists={"epoch": 1, "type": "colour"})
    there.create("g")
    assert set(there.project.quarantined) == {"flag/f"}
    assert "broken" in there.project.flag_set("prod").flags["f"]
    assert "broken" not in there.project.flag_set("prod").flags["g"]
    assert there.project.conflict_count == len(there.project.conflicts()) > 0
    there.write(CellWrite("flag/f", there.generation("flag/f"), "exists", FLAG["exists"]))
    assert there.project.quarantined == {}
    assert there.project.conflict_count == 0


# -- settings


def test_new_environments_are_read_and_old_ones_go() -> None:
    there = Shop("prod")
    there.create("f", **{"env/dev/enabled": True, "env/dev/default": "off"})
    there.write(CellWrite("flagd/dev", NO_GENERATION, "evaluator/e", {"==": [1, 1]}))
    there.write(*segment("s", ["ada"]))
    with pytest.raises(KeyError):
        there.project.flag_set("dev")
    prod = there.project.flag_set("prod")
    assert there.project.configure(("prod", "dev"), "v3")
    assert there.project.environments == ("dev", "prod")
    dev = there.project.flag_set("dev")
    assert dev.flags["f"]["default"] == "off"
    assert dev.segments["s"]["members"] == {"ada"}
    assert dict(dev.evaluators) == {"e": {"==": [1, 1]}}
    assert dev.version == there.project.replica.root_hash()
    assert there.project.flag_set("prod") is prod, "who holds it goes on with it"
    assert there.project.configure(("dev",), "v3")
    with pytest.raises(KeyError):
        there.project.flag_set("prod")
    there.put("flag/f", "env/dev/default", "on")
    assert there.project.flag_set("dev").flags["f"]["default"] == "on"


def test_the_same_settings_are_no_reason_to_read_anything() -> None:
    there = Shop("prod", "dev")
    there.create("f")
    there.project.poison = frozenset({"flag/f"})  # any reading would be noticed
    assert not there.project.configure(("dev", "prod"), "v3")
    assert there.defects == []


# -- lists


@pytest.mark.parametrize("seed", range(5))
def test_keys_are_sorted_whatever_comes_and_goes(seed: int) -> None:
    rng, there = Random(seed), Shop()
    flags: set[str] = set()
    segments: set[str] = set()
    for _ in range(300):
        key = f"k{rng.randrange(40)}" + "x" * rng.randrange(2)
        kind, there_now = rng.choice([("flag", flags), ("segment", segments)])
        if key not in there_now:
            there.write(*(flag_writes(key) if kind == "flag" else segment(key)))
            there_now.add(key)
        else:
            there.delete(f"{kind}/{key}")
            there_now.discard(key)
        assert list(there.project.flag_keys()) == sorted(flags)
        assert list(there.project.segment_keys()) == sorted(segments)
    assert set(there.project.flag_set("prod").flags) == flags
    assert set(there.project.flag_set("prod").segments) == segments


def test_who_requires_a_flag_is_known_whatever_comes_and_goes() -> None:
    there = Shop()
    there.create("f")
    there.create("a")
    there.put("flag/a", "prerequisite/f", "on")
    there.create("b")
    there.put("flag/b", "prerequisite/f", "on")
    there.put("flag/b", "prerequisite/a", "on")
    assert (set(there.project.requirers("f")), set(there.project.requirers("a"))) == ({"a", "b"}, {"b"})
    there.put("flag/b", "prerequisite/f", TOMBSTONE)
    there.delete("flag/a")
    assert (set(there.project.requirers("f")), set(there.project.requirers("a"))) == (set(), {"b"})
    views = there.project.aside(there.author.replica)
    views.refresh_all()
    there.project.adopt(views)
    assert set(there.project.requirers("a")) == {"b"}


async def test_conflicts_are_counted_as_they_come_and_go(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await write(engine, creates("f"))
        one, two = await Stranger(0xA1).follow(engine), await Stranger(0xA2).follow(engine)
        state = shop(engine).flag("f")
        assert state is not None
        at = state.generation
        await push(engine, [one.write([CellWrite("flag/f", at, "description", "1")])])
        assert shop(engine).conflict_count == 0
        theirs = [CellWrite("flag/f", at, "description", "2"), CellWrite("flag/f", at, "owner", "2")]
        await push(engine, [two.write(theirs)])
        assert shop(engine).conflict_count == len(shop(engine).conflicts()) == 1
        await write(
            engine, lambda _: Intent([CellWrite("flag/f", at, "description", "settled")]), durability="node"
        )
        assert shop(engine).conflict_count == len(shop(engine).conflicts()) == 0


async def test_races_over_a_segment_are_seen_though_only_members_were_written(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await write(engine, lambda _: Intent(segment("s", ["x"])))
        one, two = await Stranger(0xA1).follow(engine), await Stranger(0xA2).follow(engine)
        (at,) = shop(engine).replica.objects["segment/s"]
        touch = CellWrite("segment/s", at, "exists", {"epoch": 1})
        member = "member/x"

        def kinds() -> list[str]:
            return [record.kind for record in shop(engine).conflicts()]

        await push(engine, [one.write([touch, CellWrite("segment/s", at, member, TOMBSTONE)])])
        await push(engine, [two.write([touch, CellWrite("segment/s", at, member, True)])])
        assert kinds() == ["edit-remove"]
        await one.follow(engine)
        await push(engine, [one.write([touch, CellWrite("segment/s", at, member, True)])])
        assert kinds() == []
        # A delete beside an edit that did not know of it.
        await two.follow(engine)
        await push(engine, [one.write([CellWrite("segment/s", at, "exists", TOMBSTONE)])])
        assert shop(engine).segment("s") is None
        await push(engine, [two.write([touch, CellWrite("segment/s", at, "member/y", True)])])
        state = shop(engine).segment("s")
        assert state is not None
        assert (state.members, state.needs_review) == ({"x", "y"}, True)


async def test_the_side_that_edited_a_segment_sees_the_delete_beside_it(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await write(engine, lambda _: Intent(segment("s", ["x"])))
        stranger = await Stranger().follow(engine)
        (at,) = shop(engine).replica.objects["segment/s"]
        touch = CellWrite("segment/s", at, "exists", {"epoch": 1})
        await write(engine, lambda _: Intent([touch, CellWrite("segment/s", at, "member/y", True)]))
        await push(engine, [stranger.write([CellWrite("segment/s", at, "exists", TOMBSTONE)])])
        state = shop(engine).segment("s")
        assert state is not None
        assert state.needs_review


async def test_another_create_of_a_segment_is_seen_though_it_is_nothing_but_an_existence_cell(
    autojump_clock: object,
) -> None:
    async with node() as (_, engine):
        await write(engine, lambda _: Intent(segment("s", ["x"])))
        await push(engine, [Stranger().write(segment("s"))])
        state = shop(engine).segment("s")
        assert state is not None
        assert len(state.generations) == 2
        assert "concurrent-create" in [record.kind for record in shop(engine).conflicts()]


# -- large segments


class Counted(dict[str, bytes]):
    """A generation's cells that know how often somebody has gone through all of them."""

    walks = 0

    def items(self) -> ItemsView[str, bytes]:  # type: ignore[override] # dict_items is a subtype of it
        type(self).walks += 1
        return super().items()


def test_a_large_segment_follows_its_members_without_being_read_again() -> None:
    there = Shop("dev", "prod")
    there.write(*segment("s"))
    name = "segment/s"
    cells = there.author.replica.objects[name]
    at = there.generation(name)
    for start in range(0, 10_000, 2_500):
        there.write(*(CellWrite(name, at, f"member/m{n}", True) for n in range(start, start + 2_500)))
    cells[at] = Counted(cells[at])
    there.project.refresh_all()
    assert Counted.walks > 0, "a reading is noticed"
    Counted.walks = 0
    for n in range(200):
        there.put(name, f"member/new{n}", True)
        there.put(name, f"member/m{n}", TOMBSTONE)
    assert Counted.walks == 0
    wanted = {f"new{n}" for n in range(200)} | {f"m{n}" for n in range(200, 10_000)}
    for environment in ("dev", "prod"):
        assert there.project.flag_set(environment).segments["s"]["members"] == wanted
    state = there.project.segment("s")
    assert state is not None
    assert state.members == wanted
    # What is more than a member is read.
    there.put(name, "description", "now")
    assert Counted.walks > 0
