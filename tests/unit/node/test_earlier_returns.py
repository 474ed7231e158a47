"""What a return finds of its earlier runs in the node's own log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgpack
import trio

from tests.unit.node.engine.world import Stranger, flag_writes
from vexil.crdt.replica import Replica
from vexil.node.earlier_returns import keys_of, own_writes
from vexil.node.project import Project
from vexil.node.seams import LogRecord

OLD, NEW = 0x99, 0xA1


class Log:
    """A log that gives one record a page, as far as it goes."""

    def __init__(self, *raws: bytes) -> None:
        self.rows = [LogRecord("shop", NEW, seq, raw) for seq, raw in enumerate(raws, start=1)]

    async def read(
        self, project: str, *, after: Mapping[int, int], through: Mapping[int, int], limit_bytes: int
    ) -> Sequence[LogRecord]:
        await trio.lowlevel.checkpoint()
        seq = after.get(NEW, 0)
        return self.rows[seq : min(seq + 1, through[NEW])]


def project() -> Project:
    return Project("shop", Replica(), on_defect=lambda *_: None)


def issued_again(*keys: str) -> tuple[Stranger, Stranger]:
    """Who made flags before, and who has issued just these again."""
    before, now = Stranger(OLD), Stranger(NEW)
    for key in keys:
        now.write(flag_writes(key), idempotency=keys_of(before.create(key))[0])
    return before, now


async def test_what_was_issued_again_is_found_by_the_id_of_the_old_change() -> None:
    before, now = issued_again("a", "b")
    found = await own_writes(Log(*(change.raw for change in now.log)), "shop", {NEW: 2})
    assert [found.became(project(), change) for change in before.log] == [(NEW, 1), (NEW, 2)]
    assert found.became(project(), Stranger(0x77).create("c")) is None


async def test_a_change_of_a_newer_version_does_not_keep_the_others_from_being_found() -> None:
    before, now = issued_again("a", "b")
    newer = bytes(msgpack.packb([99, NEW, 1, "what only a newer version knows"]))
    found = await own_writes(Log(newer, now.log[1].raw), "shop", {NEW: 2})
    assert found.unreadable == 1
    assert [found.became(project(), change) for change in before.log] == [None, (NEW, 2)]


async def test_a_log_that_does_not_reach_so_far_ends_the_search() -> None:
    _, now = issued_again("a")
    found = await own_writes(Log(*(change.raw for change in now.log)), "shop", {NEW: 9})
    assert found.cells.keys() == {(NEW, 1)}


async def test_what_a_log_tells_of_the_old_change_itself_is_not_what_has_become_of_it() -> None:
    before, now = issued_again("a")
    here = project()
    here.idempotency.register(before.write(flag_writes("b"), idempotency=("kim-1", b"same")))
    found = await own_writes(Log(now.log[0].raw), "shop", {NEW: 1})
    assert found.became(here, before.log[-1]) is None
