"""P2, the part about bytes: one encoding, kept as it came, also by a node that is older than what it carries.

A newer version may append members to a change, to an operation and to a payload. This version must read what it knows,
and store, hash and pass on all of it. Whatever else arrives is a change or is `Undecodable`; never another error.
"""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vexil.crdt import change as changes
from vexil.crdt import payload as payloads
from vexil.crdt.cell import live
from vexil.crdt.change import GENESIS, NO_GENERATION, Change, Operation, Undecodable
from vexil.crdt.frontier import Verdict
from vexil.crdt.payload import TOMBSTONE, UNREADABLE, Payload
from vexil.crdt.pen import CellWrite, Pen
from vexil.crdt.replica import EXISTS, Replica

SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.floats(allow_nan=False),
    st.text(max_size=8),
)
json_values: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
incarnations = st.one_of(st.integers(1, 5), st.integers(1, (1 << 64) - 1))
seqs = st.one_of(st.integers(1, 5), st.integers(1, (1 << 62) - 1))
dots = st.tuples(incarnations, seqs)
names = st.one_of(st.sampled_from(("flag/a", "segment/b", EXISTS, "tag/x", "")), st.text(max_size=10))
operations = st.builds(
    Operation,
    names,
    st.one_of(st.just(NO_GENERATION), dots),
    names,
    st.one_of(
        st.builds(payloads.encode, st.text(max_size=5), st.one_of(json_values, st.just(TOMBSTONE))),
        st.binary(max_size=20),
    ),
    st.lists(dots, max_size=3).map(tuple),
)


@st.composite
def any_change(draw: st.DrawFn, *, first: bool = False) -> Change:
    """Any encodable change; ``first``: one that an empty replica takes next."""
    dot = (draw(incarnations), 1) if first else draw(dots)
    others = incarnations.filter(lambda incarnation: incarnation != dot[0])
    return changes.encode(
        dot=dot,
        hlc=draw(st.integers(0, (1 << 64) - 1)),
        deps={} if first else draw(st.dictionaries(others, seqs, max_size=4)),
        previous=GENESIS if first else draw(st.binary(min_size=16, max_size=16)),
        author=draw(st.text(max_size=8)),
        message=draw(st.text(max_size=8)),
        idempotency=draw(st.one_of(st.none(), st.tuples(st.text(max_size=8), st.binary(max_size=8)))),
        operations=[op._replace(seen=()) if first else op for op in draw(st.lists(operations, max_size=4))],
        before=draw(st.lists(json_values, max_size=3)),
    )


@given(any_change())
def test_a_change_survives_its_encoding(change: Change) -> None:
    again = changes.decode(change.raw)
    assert again == change
    assert again.raw == change.raw
    assert again.chain == change.chain
    assert changes.peek_dot(change.raw) == change.dot
    assert changes.parse_id(change.id) == change.dot


@given(any_change())
def test_one_change_has_one_encoding(change: Change) -> None:
    """The order in which a vector was put together does not show."""
    turned = changes.encode(
        dot=change.dot,
        hlc=change.hlc,
        deps=dict(reversed(change.deps)),
        previous=change.previous,
        author=change.author,
        message=change.message,
        idempotency=change.idempotency,
        operations=list(change.operations),
        before=list(change.before),
    )
    assert turned.raw == change.raw


@given(st.text(max_size=8), json_values)
def test_a_payload_survives_its_encoding(author: str, value: object) -> None:
    packed = payloads.encode(author, value)
    assert payloads.decode(packed) == Payload(author, value)
    assert not payloads.is_tombstone(packed)


@given(st.text(max_size=300))
def test_a_tombstone_says_who_removed(author: str) -> None:
    packed = payloads.tombstone(author)
    assert packed == payloads.encode(author, TOMBSTONE)
    assert payloads.is_tombstone(packed)
    assert payloads.decode(packed) == Payload(author, TOMBSTONE)


@given(st.one_of(st.integers(min_value=1 << 64), st.integers(max_value=-(1 << 63) - 1)))
def test_an_integer_beyond_64_bits_is_a_float(number: int) -> None:
    assert payloads.decode(payloads.encode("ann", {"n": [number]})).value == {"n": [float(number)]}


@pytest.mark.parametrize("value", [10**400, -(10**400), {"deep": [1, 10**400]}, object(), {1, 2}, "\ud800"])
def test_what_cannot_be_said_is_a_value_or_type_error(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        payloads.encode("ann", value)
    # The packer is shared: what was refused must not leak into what is packed next.
    with pytest.raises((ValueError, TypeError)):
        Pen(Replica(), 1).write([CellWrite("flag/a", (1, 1), "x", value)], hlc=1, author="ann")
    change = Pen(Replica(), 1).write([CellWrite("flag/a", (1, 1), "x", 1)], hlc=1, author="ann")
    assert changes.decode(change.raw) == change


@pytest.mark.parametrize("depth", [100, 400, 600, 1100, 5000])
def test_a_deep_value_is_refused_or_can_be_read_back(depth: int) -> None:
    value: object = 1
    for _ in range(depth):
        value = [value]
    try:
        packed = payloads.encode("ann", value)
    except ValueError:
        return
    assert payloads.decode(packed).value is not UNREADABLE


# -- newer versions

extras = st.lists(st.one_of(json_values, st.binary(max_size=5)), min_size=1, max_size=3)


def from_newer_version(
    change: Change, of_change: list[Any], of_operation: list[Any], of_payload: list[Any]
) -> bytes:
    """The bytes of ``change`` with members appended everywhere where a version may append some."""
    body = msgpack.unpackb(change.raw)
    for op in body[10]:
        if payloads.is_tombstone(op[4]):
            inside = msgpack.unpackb(msgpack.unpackb(op[4]).data) + of_payload
            op[4] = msgpack.packb(msgpack.ExtType(payloads.TOMBSTONE_EXTENSION, msgpack.packb(inside)))
        else:
            op[4] = msgpack.packb(msgpack.unpackb(op[4]) + of_payload)
        op.extend(of_operation)
    return bytes(msgpack.packb(body + of_change))


def authored(replica: Replica, incarnation: int, writes: list[CellWrite]) -> Change:
    return Pen(replica, incarnation).write(writes, hlc=9, author="ann", idempotency=("key", b"print"))


@given(extras, extras, extras, json_values)
def test_members_of_a_newer_version_are_kept_hashed_and_passed_on(
    of_change: list[Any], of_operation: list[Any], of_payload: list[Any], value: object
) -> None:
    plain = authored(
        Replica(),
        3,
        [
            CellWrite("flag/a", (3, 1), EXISTS, {"epoch": 1}),
            CellWrite("flag/a", (3, 1), "description", value),
            CellWrite("flag/a", (3, 1), "tag/x", TOMBSTONE),
            CellWrite("flag/a", NO_GENERATION, "kill/prod", value),
        ],
    )
    raw = from_newer_version(plain, of_change, of_operation, of_payload)
    change = changes.decode(raw)
    assert change.raw == raw, "what is stored and sent is what came"
    assert [payloads.decode(op.payload) for op in change.operations] == [
        payloads.decode(op.payload) for op in plain.operations
    ], "what this version knows reads as before"
    assert [op[:3] for op in change.operations] == [op[:3] for op in plain.operations]
    older, relayed = Replica(), Replica()
    older.apply(change)
    relayed.apply(changes.decode(change.raw))
    sent = [op[4] for op in msgpack.unpackb(raw)[10]]
    kept = [live(older.cell(op.object, op.generation, op.field))[0].payload for op in change.operations]
    assert kept == sent, "a lane is the payload byte for byte"
    assert list(older.canonical()) == list(relayed.canonical())
    assert (older.root, older.vv_hash()) == (relayed.root, relayed.vv_hash())
    stripped = Replica()
    stripped.apply(plain)
    assert older.root != stripped.root, "a node that drops members is found out by its root hash"
    assert older.vv_hash() != stripped.vv_hash(), "and by the chain"


@given(extras, extras, extras)
def test_the_next_change_builds_on_a_newer_one(a: list[Any], b: list[Any], c: list[Any]) -> None:
    plain = authored(Replica(), 3, [CellWrite("flag/a", (3, 1), EXISTS, {"epoch": 1})])
    newer = changes.decode(from_newer_version(plain, a, b, c))
    there, here = Replica(), Replica()
    for replica in (there, here):
        replica.apply(newer)
    follow = authored(there, 3, [CellWrite("flag/a", (3, 1), "description", "x")])
    beside = authored(here, 4, [CellWrite("flag/a", (3, 1), EXISTS, TOMBSTONE)])
    for replica in (there, here):
        for change in (follow, beside):
            assert replica.verdict(change) is Verdict.NEXT
            replica.apply(changes.decode(change.raw))
    assert there.root == here.root == there.recomputed_root()


# -- junk


def is_change_or_undecodable(raw: bytes) -> Change | None:
    try:
        change = changes.decode(raw)
    except Undecodable:
        return None
    assert change.raw == raw
    assert changes.peek_dot(raw) == change.dot
    assert all(i > 0 and s > 0 for i, s in change.deps)
    return change


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_a_change_or_undecodable(raw: bytes) -> None:
    is_change_or_undecodable(raw)
    changes.peek_dot(raw)


packable = st.recursive(
    st.one_of(
        SCALARS,
        st.binary(max_size=16),
        st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=7),
        st.dictionaries(st.one_of(st.integers(0, 3), st.text(max_size=2)), inner, max_size=2),
    ),
    max_leaves=8,
)


@given(any_change(first=True), st.data())
def test_a_change_with_one_member_exchanged_is_taken_whole_or_refused(
    change: Change, data: st.DataObject
) -> None:
    """Well-formed msgpack of the wrong shape, at any depth of the change."""
    body = msgpack.unpackb(change.raw)
    target = body
    if body[10] and data.draw(st.booleans()):
        target = data.draw(st.sampled_from(body[10]))
    at = data.draw(st.integers(0, len(target) - 1))
    if data.draw(st.booleans()):
        target[at] = data.draw(packable)
    else:
        del target[at:]
    taken_whole_or_refused(msgpack.packb(body))


@given(any_change(first=True), st.data())
@settings(max_examples=200)
def test_a_change_with_damaged_bytes_is_taken_whole_or_refused(change: Change, data: st.DataObject) -> None:
    raw = bytearray(change.raw)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.sampled_from(("flip", "insert", "cut", "swap"))):
            case "flip":
                raw[at] ^= 1 << data.draw(st.integers(0, 7))
            case "insert":
                raw[at:at] = data.draw(st.binary(min_size=1, max_size=3))
            case "swap":
                raw[at] = data.draw(
                    st.sampled_from((0x00, 0x7F, 0x80, 0x90, 0xC0, 0xC1, 0xC4, 0xCF, 0xD9, 0xDD, 0xDF, 0xFF))
                )
            case _:
                del raw[at : at + 1]
        if not raw:
            break
    taken_whole_or_refused(bytes(raw))


def taken_whole_or_refused(raw: bytes) -> None:
    """A decodable change is always joined and hashed, and passed on to a node that then has the same."""
    change = is_change_or_undecodable(raw)
    if change is None:
        return
    replica, other = Replica(), Replica()
    if replica.verdict(change) is not Verdict.NEXT:
        return
    replica.apply(change)
    other.apply(changes.decode(raw))
    assert replica.root == replica.recomputed_root() == other.root
    for op in change.operations:
        payloads.decode(op.payload)
    loaded = Replica.load(
        replica.header(),
        [
            (name, generation, field, cell)
            for name, generations in replica.objects.items()
            for generation, fields in generations.items()
            for field, cell in fields.items()
        ],
    )
    assert loaded.root == replica.root


@given(st.one_of(st.binary(max_size=40), packable.map(msgpack.packb)))
def test_reading_a_payload_is_total(packed: bytes) -> None:
    author, value = payloads.decode(packed)
    assert isinstance(author, str)
    if value is TOMBSTONE:
        assert payloads.is_tombstone(packed)
    elif payloads.is_tombstone(packed):
        assert value is UNREADABLE


@pytest.mark.parametrize(
    "packed",
    [
        msgpack.packb("ab"),  # a text of two letters is no [author, value]
        msgpack.packb({"author": "ann", "value": 1}),
        msgpack.packb({0: "ann", 1: 1}),
        msgpack.packb(["ann"]),
        msgpack.packb([b"ann", 1]),
        msgpack.packb([1, 1]),
        msgpack.packb(["ann", b"bytes"]),
        msgpack.packb(["ann", msgpack.ExtType(5, b"new")]),
        msgpack.packb(["ann", msgpack.Timestamp(1)]),
        msgpack.packb(["ann", 1]) + b"\x00",
        msgpack.packb(["ann", {1: 2}]),
        b"\xc1",
        b"",
        b"\x91" * 5000,
    ],
)
def test_a_payload_that_is_no_value_of_this_version_is_unreadable(packed: bytes) -> None:
    assert payloads.decode(packed) == Payload("", UNREADABLE)


# -- bounds


def test_a_change_at_the_size_bound_is_read_and_one_above_is_not() -> None:
    def sized(extra: int) -> bytes:
        payload = b"\xff" * (changes.CHANGE_BYTES_MAX - 1024 + extra)
        return changes.encode(
            dot=(1, 1),
            hlc=1,
            deps={},
            previous=GENESIS,
            author="",
            message="",
            idempotency=None,
            operations=[Operation("o", NO_GENERATION, "f", payload, ())],
        ).raw

    exact = sized(1024 - (len(sized(0)) - (changes.CHANGE_BYTES_MAX - 1024)))
    assert len(exact) == changes.CHANGE_BYTES_MAX
    assert changes.decode(exact).raw == exact
    with pytest.raises(Undecodable, match="more than"):
        changes.decode(exact + b"\x00")


def of_operations(count: int) -> Change:
    return changes.encode(
        dot=(1, 1),
        hlc=1,
        deps={},
        previous=GENESIS,
        author="",
        message="",
        idempotency=None,
        operations=[Operation("o", NO_GENERATION, str(n), b"", ()) for n in range(count)],
    )


def test_the_number_of_operations_is_bounded_for_readers_and_for_writers() -> None:
    body = msgpack.unpackb(of_operations(changes.OPERATIONS_MAX).raw)
    assert is_change_or_undecodable(msgpack.packb(body)) is not None
    body[10].append(body[10][0])
    assert is_change_or_undecodable(msgpack.packb(body)) is None
    with pytest.raises(changes.TooLarge):
        of_operations(changes.OPERATIONS_MAX + 1)


def test_a_change_that_no_reader_would_take_for_its_size_is_not_written() -> None:
    with pytest.raises(changes.TooLarge):
        changes.encode(
            dot=(1, 1),
            hlc=1,
            deps={},
            previous=GENESIS,
            author="",
            message="",
            idempotency=None,
            operations=[Operation("o", NO_GENERATION, "f", bytes(changes.CHANGE_BYTES_MAX), ())],
        )


@given(any_change(), st.integers(2, 9))
def test_a_later_version_of_the_encoding_is_kept_aside(change: Change, version: int) -> None:
    body = msgpack.unpackb(change.raw)
    body[0] = version
    raw = msgpack.packb(body)
    assert is_change_or_undecodable(raw) is None
    assert changes.peek_dot(raw) == change.dot


@given(any_change())
def test_a_change_that_depends_on_its_own_incarnation_is_kept_aside(change: Change) -> None:
    body = msgpack.unpackb(change.raw)
    body[4] = [change.incarnation, 1]
    assert is_change_or_undecodable(msgpack.packb(body)) is None


@pytest.mark.parametrize(
    ("member", "value"),
    [
        (0, "1"),
        (1, 0),
        (1, -1),
        (1, True),
        (2, 0),
        (2, 1 << 62),
        (3, -1),
        (3, 1.0),
        (4, [1]),
        (4, [0, 1]),
        (4, [1, 0]),
        (4, None),
        (5, bytes(15)),
        (5, "0123456789abcdef"),
        (6, None),
        (7, b""),
        (8, 5),
        (9, "text"),
        (10, {}),
        (10, [[]]),
        (10, [["o", 0, 0, "f", "text", []]]),
        (10, [["o", -1, 0, "f", b"", []]]),
        (10, [["o", 0, 0, b"f", b"", []]]),
        (10, [["o", 0, 0, "f", b"", [1, 2, 3]]]),
        (11, None),
    ],
)
def test_a_member_of_the_wrong_kind_or_range_makes_a_change_undecodable(member: int, value: object) -> None:
    good = authored(Replica(), 3, [CellWrite("flag/a", (3, 1), EXISTS, 1)])
    body = msgpack.unpackb(good.raw)
    assert is_change_or_undecodable(msgpack.packb(body)) == good
    body[member] = value
    with pytest.raises(Undecodable):
        changes.decode(msgpack.packb(body))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1:1",
        f"{1:016x}",
        f"{1:016x}:",
        f"{1:016x}:01",
        f"{1:016X}:-1",
        f"{255:016X}:1",
        f"+{1:015x}:1",
    ],
)
def test_a_text_that_is_no_change_id_is_none(text: str) -> None:
    assert changes.parse_id(text) is None
