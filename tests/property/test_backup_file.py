"""The file of a backup comes back as it was, and no other bytes are taken for one: not one less, not one another."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import msgpack
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from vexil.crdt.change import NO_GENERATION, Change
from vexil.crdt.pen import NEW_GENERATION, CellWrite, Pen
from vexil.crdt.replica import Replica
from vexil.crdt.snapshot_page import decode_page, encode_page
from vexil.node import backup_file
from vexil.node.backup_file import (
    CELLS,
    KEYS,
    MANIFEST,
    ROWS,
    BackupError,
    Decoder,
    Encoder,
    Manifest,
    encode_rows,
)
from vexil.node.backup_reading import Backup, read_backup
from vexil.node.gossip.snapshots import key_page
from vexil.node.idempotency import Remembered

MINE, THEIRS = 0x11, 0x22
KEPT = [("a-key", Remembered((MINE, 1), 7, b"fingerprint"))]


@cache
def history() -> tuple[Replica, tuple[Change, ...]]:
    """Two authors, a race, a removal; newest first."""
    replica = Replica()
    rows = []
    hlc = 1
    for number in range(6):
        pen = Pen(replica, MINE if number % 2 else THEIRS)
        writes = [
            CellWrite(f"flag/f{number}", NEW_GENERATION, field, value)
            for field, value in {"exists": {"epoch": 1, "type": "boolean"}, "description": "x" * 20}.items()
        ]
        writes.append(CellWrite("flagd/prod", NO_GENERATION, "metadata/team", f"{number}"))
        hlc += 1
        change = pen.write(writes, hlc=hlc, author="ada")
        replica.apply(change)
        rows.append(change)
    return replica, tuple(reversed(rows))


def manifest(**other: Any) -> Manifest:
    replica, _ = history()
    said: dict[str, Any] = {
        "project": "shop",
        "node": "eu-1",
        "time_ms": 5,
        "environments": ("prod",),
        "bucketing": "v3",
        "hlc": 9,
        "header": replica.header(),
        "objects": len(replica.objects),
        "keys": len(KEPT),
    }
    return Manifest(**{**said, **other})


def cells() -> bytes:
    replica, _ = history()
    return encode_page((name, replica.cells(name)) for name in sorted(replica.objects))


def rows() -> bytes:
    return encode_rows([change.raw for change in history()[1]])


Frames = list[tuple[int, bytes]]


def frames() -> Frames:
    return [(CELLS, cells()), (KEYS, key_page(KEPT, 0, 1 << 20)[0]), (ROWS, rows())]


def file_of(first: Manifest | None = None, then: Frames | None = None) -> bytes:
    encoder = Encoder()
    parts = [encoder.begin(manifest() if first is None else first)]
    parts += [encoder.frame(kind, content) for kind, content in (frames() if then is None else then)]
    return b"".join([*parts, encoder.end()])


@cache
def whole() -> bytes:
    return file_of()


def read(data: bytes, *, pieces: int = 1 << 20, **options: Any) -> Backup:
    chunks = [data[i : i + pieces] for i in range(0, len(data), pieces)]
    return trio.run(partial(read_backup, chunks, **options))


@given(pieces=st.integers(1, 5_000))
def test_it_comes_back_in_whatever_pieces_it_arrives(pieces: int) -> None:
    replica, made = history()
    backup = read(whole(), pieces=pieces)
    assert backup.manifest == manifest()
    assert list(backup.state.canonical()) == list(replica.canonical())
    assert backup.state.header() == replica.header()
    assert backup.keys == KEPT
    assert [row.raw for row in backup.rows] == [change.raw for change in made]
    assert (backup.row_count, backup.size) == (len(made), len(whole()))


def test_rows_that_are_not_kept_are_counted() -> None:
    backup = read(whole(), keep_rows=False)
    assert (backup.rows, backup.row_count) == ([], 6)


def test_every_truncation_is_refused() -> None:
    for size in range(len(whole())):
        with pytest.raises(BackupError):
            list_frames(whole()[:size])
    with pytest.raises(BackupError, match="cut off"):
        read(whole()[:-1])


def test_every_flipped_byte_is_refused() -> None:
    data = whole()
    for at in range(len(data)):
        for flip in (0x01, 0x80):
            with pytest.raises(BackupError):
                list_frames(data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :])


def list_frames(data: bytes) -> Frames:
    """As `read_backup` begins; the parts that it looks into are in other tests."""
    decoder = Decoder()
    found = list(decoder.feed(data))
    decoder.close()
    return found


def test_what_goes_on_behind_its_end_is_refused() -> None:
    for more in (b"\0", whole()):
        with pytest.raises(BackupError, match="behind its end"):
            read(whole() + more)


@given(st.binary(max_size=200))
def test_foreign_files_are_told_from_backups(data: bytes) -> None:
    with pytest.raises(BackupError):
        read(data)


@given(st.binary(max_size=200))
def test_junk_behind_a_true_beginning_is_refused(data: bytes) -> None:
    for beginning in (b"vexil-backup 1\n", b"vexil-backup 1\n" + bytes([0x92, MANIFEST, 0xC6])):
        with pytest.raises(BackupError):
            read(beginning + data)


@given(st.integers(MANIFEST, ROWS), st.binary(max_size=100))
def test_any_content_of_any_frame_is_read_or_refused(kind: int, content: bytes) -> None:
    encoder = Encoder()
    begin = encoder.begin(manifest())
    data = begin + encoder.frame(kind, content) + encoder.end()
    with pytest.raises(BackupError):
        read(data)


def test_a_newer_format_says_so() -> None:
    for version in (b"2", b"17", b"999999999"):
        with pytest.raises(BackupError, match=f"format version {version.decode()}.*newer"):
            read(whole().replace(b"vexil-backup 1", b"vexil-backup " + version, 1))
    for version in (b"0", b"01", b"x", b"9999999999"):
        with pytest.raises(BackupError, match="not a Vexil backup"):
            read(whole().replace(b"vexil-backup 1", b"vexil-backup " + version, 1))


def test_an_endless_file_is_left_at_its_first_bytes() -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"\0" * 1_000

    with pytest.raises(BackupError):
        trio.run(read_backup, endless())
    assert taken == 1


def test_a_frame_that_says_to_be_huge_is_not_waited_for() -> None:
    encoder = Encoder()
    head = encoder.begin(manifest())
    huge = backup_file._FRAME.pack(0x92, CELLS, 0xC6, backup_file.FRAME_BYTES_MAX + 1)
    with pytest.raises(BackupError, match="a frame of"):
        read(head + huge)


def test_a_frame_that_inflates_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_file, "FRAME_BYTES_MAX", 10_000)
    with pytest.raises(BackupError, match="not of its size"):
        read(file_of(then=[(CELLS, b"\0" * 1_000_000)]))


def swapped(found: Frames) -> Frames:
    return [found[1], found[0], found[2]]


def rows_before_keys(found: Frames) -> Frames:
    return [found[0], found[2], found[1]]


def more_cells_at_the_end(found: Frames) -> Frames:
    cell = history()[0].cell("flagd/prod", NO_GENERATION, "metadata/team")
    page = encode_page([("zone/later", {NO_GENERATION: {"f": cell}})])
    return [*found, (CELLS, page)]


def without_cells(found: Frames) -> Frames:
    return found[1:]


def without_keys(found: Frames) -> Frames:
    return [found[0], found[2]]


def cells_twice(found: Frames) -> Frames:
    return [found[0], *found]


def keys_twice(found: Frames) -> Frames:
    return [found[0], found[1], *found[1:]]


def rows_twice(found: Frames) -> Frames:
    return [*found, found[2]]


def oldest_first(found: Frames) -> Frames:
    return [*found[:2], (ROWS, encode_rows([change.raw for change in reversed(history()[1])]))]


def with_a_gap(found: Frames) -> Frames:
    return [*found[:2], (ROWS, encode_rows([change.raw for change in history()[1][:1] + history()[1][3:]]))]


def another_history(found: Frames) -> Frames:
    other = Pen(Replica(), MINE).write(
        [CellWrite("flag/x", NEW_GENERATION, "exists", True)], hlc=1, author="eve"
    )
    return [*found[:2], (ROWS, encode_rows([other.raw]))]


def a_value_changed(found: Frames) -> Frames:
    page = msgpack.unpackb(found[0][1])
    fields = page[0][1][0][2]
    flat = msgpack.unpackb(fields[1])
    flat[2] += 1
    fields[1] = msgpack.packb(flat)
    return [(CELLS, msgpack.packb(page)), *found[1:]]


def an_object_less(found: Frames) -> Frames:
    return [(CELLS, msgpack.packb(msgpack.unpackb(found[0][1])[:-1])), *found[1:]]


@pytest.mark.parametrize(
    "alter",
    [
        swapped,
        rows_before_keys,
        more_cells_at_the_end,
        without_cells,
        without_keys,
        cells_twice,
        keys_twice,
        rows_twice,
        oldest_first,
        with_a_gap,
        another_history,
        a_value_changed,
        an_object_less,
    ],
)
def test_a_file_with_a_true_hash_is_still_not_believed(alter: Callable[[Frames], Frames]) -> None:
    with pytest.raises(BackupError):
        read(file_of(then=alter(frames())))


@pytest.mark.parametrize(
    "other",
    [
        {"project": ""},
        {"project": "x" * 1_000},
        {"environments": ("a b",)},
        {"environments": ("",)},
        {"bucketing": "v9"},
        {"header": b""},
        {"header": Replica().header()},
        {"objects": 0},
        {"objects": 1_000},
        {"keys": 0},
        {"keys": 2},
        {"hlc": -1},
        {"time_ms": None},
        {"project": 5},
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(BackupError):
        read(file_of(manifest(**other)))


def test_an_empty_project_has_a_file_too() -> None:
    empty = Replica()
    backup = read(file_of(manifest(header=empty.header(), objects=0, keys=0), []))
    assert (backup.state.vv, backup.state.objects) == ({}, {})


def test_the_file_is_deflated() -> None:
    page = encode_page([("flag/x", {NO_GENERATION: {f"f{n}": b"\x90" for n in range(1_000)}})])
    assert len(Encoder().frame(CELLS, page)) < len(page) / 2
    assert zlib.decompress(Encoder().frame(CELLS, page)[7:]) == page
    assert decode_page(cells())


def test_a_small_file_does_not_hold_bytes_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    inflated = sum(len(content) for _, content in list_frames(whole()))
    monkeypatch.setattr(backup_file, "INFLATED_BYTES_MAX", inflated)
    read(whole())
    monkeypatch.setattr(backup_file, "INFLATED_BYTES_MAX", inflated - 1)
    with pytest.raises(BackupError, match="more than"):
        read(whole())


def test_a_file_does_not_say_of_itself_that_it_has_objects_without_end() -> None:
    with pytest.raises(BackupError, match="does not make sense"):
        read(file_of(manifest(objects=backup_file.OBJECTS_MAX + 1)))
