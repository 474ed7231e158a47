"""A state under other incarnations says the same of everything, and shares none with what it was made from."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vexil.crdt import cell as cells
from vexil.crdt import schema
from vexil.crdt.change import NO_GENERATION, Dot
from vexil.crdt.flag_reader import read_flag
from vexil.crdt.pen import NEW_GENERATION, CellWrite, Pen
from vexil.crdt.renaming import incarnations_of, names_for, renamed_header, renamed_object
from vexil.crdt.replica import Replica, object_sum

A, B, C = 0x0A, 0xB000, 0xC0000000
PARKED = schema.parked_object((A, 9))


def state() -> Replica:
    """Three authors: two race with one stamp, one of them is retired by the third, and a change is parked."""
    one, other = Replica(), Replica()
    flag = {"exists": {"epoch": 1, "type": "string"}, "variant/x": "x", "description": "first"}
    made = Pen(one, A).write(
        [CellWrite("flag/f", NEW_GENERATION, field, value) for field, value in flag.items()],
        hlc=5,
        author="a",
    )
    one.apply(made)
    other.apply(made)
    edits = [
        Pen(replica, incarnation).write(
            [CellWrite("flag/f", made.dot, "description", f"of {incarnation}")], hlc=6, author="a"
        )
        for replica, incarnation in ((one, B), (other, C))
    ]
    for edit in edits:
        one.apply(edit)
    writes = [
        CellWrite(schema.RETIRED_OBJECT, NO_GENERATION, schema.retired_field(B), 1),
        CellWrite(PARKED, NO_GENERATION, schema.parked_field("flag/f"), {"reason": "stale"}),
    ]
    one.apply(Pen(one, A).write(writes, hlc=7, author="a"))
    one.advance_floor({A: 1})
    return one


def copied(replica: Replica, names: dict[int, int]) -> Replica:
    copy = Replica()
    for name, generations in replica.objects.items():
        made = renamed_object(name, generations, names)
        if made:
            copy.objects[name] = made
    root = sum(object_sum(name, generations) for name, generations in copy.objects.items())
    copy.load_header(renamed_header(replica, names, root=root % (1 << 128)))
    copy.settle_retired()
    return copy


def test_a_copy_says_the_same_under_other_names() -> None:
    replica = state()
    assert (replica.retired, sorted(replica.vv)) == ({B: 1}, [A, C])
    names = names_for(incarnations_of(replica), salt=b"s")
    copy = copied(replica, names)
    assert copy.vv == {names[i]: seq for i, seq in replica.vv.items()}
    assert copy.retired == {names[B]: 1}
    assert copy.floor == {names[A]: 1}
    assert copy.deps_of(names[A]) == {names[i]: seq for i, seq in replica.deps_of(A).items()}
    assert copy.head(names[A]) == replica.head(A)
    assert copy.root == copy.recomputed_root()
    assert not incarnations_of(copy) & incarnations_of(replica)
    mine, theirs = (read_flag("f", r.cells("flag/f"), ("prod",)) for r in (replica, copy))
    assert mine is not None
    assert theirs is not None
    assert mine.description == theirs.description  # a tie of stamps goes to the higher incarnation, as it did
    assert len(theirs.conflicts) == len(mine.conflicts) == 1
    for generations in copy.objects.values():
        assert all(cells.check(packed) for fields in generations.values() for packed in fields.values())


def test_a_parked_change_is_left_out() -> None:
    replica = state()
    assert PARKED in replica.objects
    copy = copied(replica, names_for(incarnations_of(replica), salt=b"s"))
    assert not [name for name in copy.objects if name.startswith("parked/")]


incarnations = st.sets(st.integers(1, (1 << 64) - 1), min_size=1, max_size=20)


@given(incarnations, st.binary(max_size=8), st.binary(max_size=8))
def test_new_names_ascend_and_are_those_of_one_copy(old: set[int], salt: bytes, other: bytes) -> None:
    names = names_for(old, salt=salt)
    assert names == names_for(sorted(old, reverse=True), salt=salt)
    assert [names[i] for i in sorted(old)] == sorted(names.values())
    assert salt == other or not set(names.values()) & set(names_for(old, salt=other).values())
    fewer = sorted(old)[1:]
    assert not set(names.values()) & set(names_for(fewer, salt=salt).values())


def test_what_no_state_can_have_is_left_as_it_is() -> None:
    stranger: Dot = (0xDEAD, 3)
    packed = cells.write(cells.EMPTY, dot=stranger, hlc=1, payload=b"\xc0", replaced=[(0xBEEF, 2)])
    made = renamed_object(schema.RETIRED_OBJECT, {stranger: {"no number": packed}}, {A: 1})
    assert made == {stranger: {"no number": packed}}
