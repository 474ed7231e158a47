"""Bounds of what one change may carry: the audit trail's ``before``, names of objects and fields."""

from __future__ import annotations

import msgpack
import pytest

from vexil.crdt import change as changes
from vexil.crdt.change import NO_GENERATION, TEXT_CHARACTERS_MAX, Undecodable
from vexil.crdt.pen import BEFORE_BYTES_MAX, CellWrite, Pen
from vexil.crdt.replica import Replica


def shown_before(*values: object) -> tuple[object, ...]:
    """What a change says was in its cells before, when the node shows these ``values`` in them."""
    shown = dict(enumerate(values))
    writes = [CellWrite("flag/f", NO_GENERATION, f"field/{n}", n) for n in shown]
    change = Pen(Replica(), 7).write(
        writes, hlc=1, author="ada", before=lambda w: shown[int(w.field.removeprefix("field/"))]
    )
    decoded = changes.decode(change.raw)
    assert decoded.before == change.before
    assert len(decoded.operations) == len(values), "whatever of the past is left out, the change is whole"
    return decoded.before


def test_what_was_there_before_is_told_up_to_a_bound_and_left_out_beyond_it() -> None:
    around = len(msgpack.packb("x" * 1_000)) - 1_000
    most = "x" * (BEFORE_BYTES_MAX - around)
    assert shown_before(most) == (most,)
    assert shown_before(most + "x") == (None,)


def test_what_does_not_fit_leaves_its_room_to_smaller_values_behind_it() -> None:
    large = "x" * (BEFORE_BYTES_MAX // 2)
    assert shown_before("small", large, large, None, True) == ("small", large, None, None, True)


def test_many_values_take_no_more_than_the_bound_together() -> None:
    told = [value for value in shown_before(*["x" * 99] * 100) if value is not None]
    assert 0 < sum(len(msgpack.packb(value)) for value in told) <= BEFORE_BYTES_MAX
    assert len(told) == BEFORE_BYTES_MAX // len(msgpack.packb("x" * 99))


@pytest.mark.parametrize(("name", "field"), [("n", "x"), ("x", "n")])
def test_a_name_that_is_too_long_is_not_decoded(name: str, field: str) -> None:
    def raw(length: int) -> bytes:
        write = CellWrite(name.replace("n", "n" * length), NO_GENERATION, field.replace("n", "n" * length), 1)
        return Pen(Replica(), 7).write([write], hlc=1, author="ada").raw

    assert len(changes.decode(raw(TEXT_CHARACTERS_MAX)).operations) == 1
    with pytest.raises(Undecodable):
        changes.decode(raw(TEXT_CHARACTERS_MAX + 1))
