"""Whatever has become of a cell on the one side, the log makes it again what its changes have made of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vexil.crdt import cell as cells
from vexil.crdt.change import NO_GENERATION, Change, Dot
from vexil.crdt.mending import Address, contested, mended, needs_removal, witnesses
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite, Pen
from vexil.crdt.replica import Replica

NAME = "x/1"
ADDRESS = Address(NAME, NO_GENERATION, "f")
AUTHORS = (3, 5, 9)

steps = st.lists(
    st.tuples(st.sampled_from(AUTHORS), st.sampled_from(["write", "remove", "other", "hear"])),
    min_size=1,
    max_size=12,
)


def history(done: list[tuple[int, str]]) -> tuple[Replica, list[Change]]:
    """Authors that write to a cell and hear of each other now and then; all of it, and what they wrote."""
    replicas = {author: Replica() for author in AUTHORS}
    pens = {author: Pen(replicas[author], author) for author in AUTHORS}
    whole = Replica()
    log: list[Change] = []
    for stamp, (author, verb) in enumerate(done, 1):
        if verb == "hear":
            for change in log:
                if change.seq > replicas[author].vv.get(change.incarnation, 0):
                    replicas[author].apply(change)
            continue
        field = "g" if verb == "other" else "f"
        value = TOMBSTONE if verb == "remove" else stamp
        pens[author].rewind()
        change = pens[author].write(
            [CellWrite(NAME, NO_GENERATION, field, value)], hlc=stamp, author=str(author)
        )
        for replica in (replicas[author], whole):
            replica.apply(change)
        log.append(change)
    return whole, log


authors = st.sampled_from(AUTHORS)
numbers = st.integers(0, 6)
groups = st.lists(
    st.tuples(authors, numbers, numbers, st.binary(max_size=3), numbers, authors, numbers),
    max_size=3,
    unique_by=lambda group: group[0],
)
Group = tuple[int, int, int, bytes, int, int, int]


def cell_of(made_up: list[Group]) -> bytes:
    """A well-formed cell of whatever was drawn."""
    flat: list[object] = []
    for i, seq, hlc, payload, seen, by, by_seq in sorted(made_up):
        lane = (seq, hlc, payload) if seq else (0, 0, b"")
        entry = (seen, by, by_seq) if seen and by_seq else (0, 0, 0)
        if seq or entry[0]:
            flat += [i, *lane, *entry]
    packed = cells.pack(flat)
    assert packed == cells.EMPTY or cells.check(packed)
    return packed


def live(cell: bytes) -> set[cells.Lane]:
    return set(cells.live(cell))


@given(steps, groups)
def test_a_made_up_cell_is_mended_by_the_log(done: list[tuple[int, str]], made_up: list[Group]) -> None:
    whole, log = history(done)
    true = whole.cell(NAME, NO_GENERATION, "f")
    altered = cell_of(made_up)
    rows: dict[Dot, Change | None] = {change.dot: change for change in log}
    for ours, theirs in ((altered, true), (true, altered)):
        wanted = witnesses(ours, theirs)
        result = mended(ADDRESS, ours, theirs, {dot: rows.get(dot) for dot in wanted}, whole.known)
        assert live(result) == live(true)
        assert contested(result, ours, theirs) == {
            lane[:2] for lane in live(true) if lane not in live(altered)
        }


@given(steps, groups, groups)
def test_without_a_log_both_sides_decide_the_same(
    done: list[tuple[int, str]], here: list[Group], there: list[Group]
) -> None:
    whole, _ = history(done)
    ours, theirs = cell_of(here), cell_of(there)
    none = dict.fromkeys(witnesses(ours, theirs))
    one = mended(ADDRESS, ours, theirs, none, whole.known)
    other = mended(ADDRESS, theirs, ours, none, whole.known)
    assert one == other
    assert mended(ADDRESS, one, one, {}, whole.known) == one


@given(steps)
def test_equal_cells_need_no_witness(done: list[tuple[int, str]]) -> None:
    whole, _ = history(done)
    true = whole.cell(NAME, NO_GENERATION, "f")
    assert witnesses(true, true) == set()
    assert mended(ADDRESS, true, true, {}, whole.known) == true
    assert not needs_removal(true, true)


def test_what_would_win_in_a_store_must_be_taken_out_there() -> None:
    low = cell_of([(3, 1, 1, b"a", 0, 3, 0)])
    high = cell_of([(3, 2, 1, b"a", 0, 3, 0)])
    assert needs_removal(high, low)
    assert not needs_removal(low, high)
    assert not needs_removal(cells.EMPTY, low)
