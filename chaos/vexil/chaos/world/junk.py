"""A node of a version that does not exist yet: changes that are sound as changes and unreadable as values.

Every such change must be kept, hashed and passed on, and must harm nothing but, at the most, the field it is in.
"""

from __future__ import annotations

from random import Random
from typing import Final

from vexil.crdt import change as changes
from vexil.crdt.cell import EMPTY, has_value, live
from vexil.crdt.change import GENESIS, NO_GENERATION, Change, Dot, Operation
from vexil.crdt.replica import Replica
from vexil.crdt.schema import environment_field, flag_object, kill_field, rule_field, tag_field

AUTHOR: Final = "a newer node"
PAYLOADS: Final[tuple[bytes, ...]] = (
    b"",
    b"\xc1",
    b"\x92\xa1x",
    b"\x93\xa1x\xc3\x81\xa3new\x01",
    b"\x92\xa1x\x81\x01\x02",
    b"\x92\xa1x" + b"\x91" * 400 + b"\x90",
    b"\xd9",
    b"\xc7\x00\x05",
)
"""Nothing, no msgpack, cut off, one item more, a map with a number for a key, very deep, cut off, another extension."""


def unreadable_change(replica: Replica, flag: str, rng: Random) -> Change:
    """The first change of a new incarnation, on top of ``replica``: junk in cells of ``flag``, known and unknown."""
    incarnation = rng.getrandbits(63) | 1
    name = flag_object(flag)
    # Whoever has seen a delete writes no more into what it has deleted: elsewhere that may have been collected.
    generations = [
        generation
        for generation, cells in replica.cells(name).items()
        if generation != NO_GENERATION and has_value(cells.get("exists", EMPTY))
    ]
    fields = [
        environment_field("prod", "default"),
        environment_field("prod", "enabled"),
        environment_field("prod", "hologram"),
        rule_field("r1", environment="prod"),
        tag_field("x"),
        "variant/on",
        "exists",
        "a field of another century",
    ]
    targets = [(generation, field) for generation in generations for field in rng.sample(fields, 4)]
    if rng.random() < 0.3:
        targets.append((NO_GENERATION, kill_field("prod")))

    def replaced(name: str, generation: Dot, field: str) -> tuple[Dot, ...]:
        return tuple((lane.incarnation, lane.seq) for lane in live(replica.cell(name, generation, field)))

    targets.append((NO_GENERATION, "a switch of another century"))
    operations = [
        Operation(
            name,
            generation,
            field,
            rng.choice(PAYLOADS),
            replaced(name, generation, field),
        )
        for generation, field in targets
    ]
    seen = replaced("hologram/1", NO_GENERATION, "shape")
    operations.append(Operation("hologram/1", NO_GENERATION, "shape", rng.choice(PAYLOADS), seen))
    return changes.encode(
        dot=(incarnation, 1),
        hlc=rng.getrandbits(63),
        deps=dict(replica.vv),
        previous=GENESIS,
        author=AUTHOR,
        message="",
        idempotency=None,
        operations=operations,
    )


def undecodable_change(rng: Random) -> bytes:
    """Bytes that name a dot and are no change: it is kept aside, and its incarnation goes nowhere."""
    incarnation = rng.getrandbits(62) | 1
    return b"\x93\x02\xcf" + incarnation.to_bytes(8, "big") + b"\x01"
