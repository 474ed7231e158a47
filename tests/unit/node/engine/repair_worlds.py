"""Two nodes, the memory of one of which fails, and what it takes to be sound again."""

from __future__ import annotations

import trio

from tests.unit.node.engine.snapshot_worlds import (
    Two,
)
from tests.unit.node.engine.world import (
    check_roots,
    shop,
)
from vexil.crdt import cell as cells
from vexil.crdt.change import Dot
from vexil.node.engine import Engine

FIELD = "description"


def place_of(engine: Engine, key: str = "first") -> tuple[str, Dot]:
    """The flag's object and generation."""
    flag = shop(engine).flag(key)
    assert flag is not None
    return f"flag/{key}", flag.generation


def described(engine: Engine) -> str | None:
    """What the flag says of itself."""
    flag = shop(engine).flag("first")
    assert flag is not None
    return flag.description


def flip(engine: Engine, key: str = "first", field: str = FIELD) -> bytes:
    """Alter one byte of what is served, in memory; the cell as it was."""
    name, generation = place_of(engine, key)
    packed = shop(engine).replica.cell(name, generation, field)
    lane = cells.live(packed)[0]
    altered = bytearray(lane.payload)
    altered[-1] ^= 1
    put(engine, key, field, packed.replace(lane.payload, bytes(altered)))
    return packed


def put(engine: Engine, key: str, field: str, packed: bytes) -> None:
    """Put a cell where it does not belong, as a fault of the memory would, and read the object again."""
    name, generation = place_of(engine, key)
    shop(engine).replica.put_cells(name, {generation: {field: packed}})
    shop(engine).refresh_objects([name])
    shop(engine).refresh(())


def believe(engine: Engine) -> None:
    """Make the root hash that of the altered cells, so that a digest shows them."""
    shop(engine).replica.root = shop(engine).replica.recomputed_root()
    shop(engine).digest_cache = None


async def settled(engine: Engine) -> None:
    """Wait until nothing is wanted of the repairs any more, and nothing is being repaired."""
    with trio.fail_after(600):
        while not engine.repairs.idle:  # noqa: ASYNC110 - looked at from outside
            await trio.sleep(0.1)


async def repaired(both: Two) -> None:
    """``us-1`` has a digest exchange with ``eu-1``, and does what follows from it."""
    await both.us._exchange.sync(both.peer)
    await settled(both.us)


def sound(both: Two) -> None:
    assert both.same()
    check_roots(both.us)
    check_roots(both.eu)
    assert shop(both.us).flag_set("prod").flags == shop(both.eu).flag_set("prod").flags
    assert shop(both.us).replica.root_hash() == shop(both.eu).replica.root_hash()
    assert shop(both.us).quarantined == {}


async def level(both: Two) -> None:
    """Both have everything, and their stores too."""
    await both.pull()
    await both.us.drain()
    await both.eu.drain()
    assert both.same()
