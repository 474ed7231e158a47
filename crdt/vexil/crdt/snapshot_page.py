"""Pages of objects with their cells: what a snapshot, a repair and a backup are sent and stored as.

A page is a msgpack array ``[[name, [[generation incarnation, generation seq, [field, cell, field, cell, ...]], ...]],
...]``; names ascend over all pages of a state. An object that does not fit goes on in the next page under its name. A
page comes from a peer or a file: reading one is total and takes nothing on trust but its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

import msgpack

from vexil.crdt import cell as cells
from vexil.crdt.change import INCARNATION_MAX, SEQ_MAX, TEXT_CHARACTERS_MAX, Dot

_packer = msgpack.Packer(autoreset=True)
_pack = _packer.pack
_array_header = _packer.pack_array_header
# The most that msgpack adds: a text, bytes or array is preceded by at most five bytes, an integer takes nine.
_OBJECT_BYTES: Final = 15
_GENERATION_BYTES: Final = 28
_CELL_BYTES: Final = 10
_PAGE_BYTES: Final = 5


class Broken(ValueError):
    """The bytes are not a page of objects."""


class Row(NamedTuple):
    """One cell of a page, as `Replica.load` takes it."""

    object: str
    generation: Dot
    field: str
    cell: bytes


class Page(NamedTuple):
    """One encoded page, and where the next one starts: in the first object above ``after``, behind ``skip`` cells."""

    raw: bytes
    after: str | None
    skip: int
    more: bool


Objects = Iterable[tuple[str, Mapping[Dot, Mapping[str, bytes]]]]


def pages(objects: Objects, *, page_bytes: int, after: str | None = None, skip: int = 0) -> Iterator[Page]:
    """``objects`` (ascending by name, as `Cut.objects` gives them) in pages of at most ``page_bytes``.

    The objects are those above ``after``, and the first of them starts behind its first ``skip`` cells. A page is
    larger only if its one cell is. An object's cells must not change, nor their order, while the pages are made.
    """
    packed: list[bytes] = []
    size = _PAGE_BYTES
    before = after
    for name, generations in objects:
        body = _body(name, generations, skip)
        if not body[1]:
            before, skip = name, 0
            continue
        raw = _pack(body)
        if size + len(raw) > page_bytes:
            if packed:
                yield Page(_joined(packed), before, skip, more=True)
                packed, size = [], _PAGE_BYTES
            if size + len(raw) > page_bytes:
                for place, part, more in _parts(name, generations, skip, page_bytes):
                    raw = part
                    if more:
                        yield Page(_joined([part]), before, place, more=True)
        packed.append(raw)
        size += len(raw)
        before = name
        skip = 0
    if packed:
        yield Page(_joined(packed), before, 0, more=False)


def encode_page(objects: Objects) -> bytes:
    """All of ``objects`` as one page, whatever its size."""
    bodies = (_body(name, generations, 0) for name, generations in objects)
    return _joined([_pack(body) for body in bodies if body[1]])


def decode_page(raw: bytes) -> list[Row]:
    """Every cell of a page in its order. Raises Broken, nothing else, whatever the bytes.

    Names ascend, and no cell is there twice. Whether the page goes on where the one before it ended is the caller's
    to check: its first name may be the last one of that, never a lower one.
    """
    return [Row(*cell[:4]) for cell in read_page(raw)]


def read_page(raw: bytes) -> Iterator[tuple[str, Dot, str, bytes, cells.Flat]]:
    """`decode_page` bit by bit, each cell with its items: what is broken shows only where it is reached."""
    try:
        last: str | None = None
        for name, generations in _pairs(msgpack.unpackb(raw, timestamp=0)):
            if last is not None and name <= last:
                raise Broken("names do not ascend")
            last = name
            seen: set[Dot] = set()
            for incarnation, seq, flat in generations:
                generation = _generation(incarnation, seq)
                if generation in seen:
                    raise Broken("a generation is there twice")
                seen.add(generation)
                yield from _cells(name, generation, flat)
            if not seen:
                raise Broken("an object without a cell")
    except Broken:
        raise
    except Exception as error:  # noqa: BLE001 - msgpack raises a dozen types on junk
        raise Broken(f"not a page of objects: {type(error).__name__}: {error}") from None


def _body(name: str, generations: Mapping[Dot, Mapping[str, bytes]], skip: int) -> list[Any]:
    """One object without its first ``skip`` cells, as a page has it."""
    shown: list[Any] = []
    for generation, fields in generations.items():
        if skip >= len(fields):
            skip -= len(fields)
            continue
        shown.append((*generation, [x for pair in islice(fields.items(), skip, None) for x in pair]))
        skip = 0
    return [name, shown]


def _joined(packed: list[bytes]) -> bytes:
    return bytes(_array_header(len(packed))) + b"".join(packed)


def _parts(
    name: str, generations: Mapping[Dot, Mapping[str, bytes]], skip: int, page_bytes: int
) -> Iterator[tuple[int, bytes, bool]]:
    """One object that is larger than a page, in parts: how many cells there are up to its end, itself, if more come."""
    builder = _Builder(name)
    place = skip
    for generation, field, packed in islice(_rows(generations), skip, None):
        size = builder.growth(generation, field, packed)
        if builder.rows and builder.size + size > page_bytes:
            yield place, builder.finish(), True
            builder = _Builder(name)
            size = builder.growth(generation, field, packed)
        builder.add(generation, field, packed, size)
        place += 1
    yield place, builder.finish(), False


class _Builder:
    """One part of an object that is being put together."""

    __slots__ = ("_body", "_last", "_name", "rows", "size")

    def __init__(self, name: str) -> None:
        self._name = name
        self._body: list[Any] = []
        self._last: Dot | None = None
        self.rows = 0
        self.size = _PAGE_BYTES + _OBJECT_BYTES + len(name.encode())

    def growth(self, generation: Dot, field: str, packed: bytes) -> int:
        """At most by how many bytes the cell would make the page longer."""
        return (
            (_CELL_BYTES if self._last == generation else _CELL_BYTES + _GENERATION_BYTES)
            + len(field.encode())
            + len(packed)
        )

    def add(self, generation: Dot, field: str, packed: bytes, size: int) -> None:
        if self._last != generation:
            self._body.append((*generation, []))
            self._last = generation
        self._body[-1][2].extend((field, packed))
        self.rows += 1
        self.size += size

    def finish(self) -> bytes:
        return bytes(_pack([self._name, self._body]))


def _rows(generations: Mapping[Dot, Mapping[str, bytes]]) -> Iterator[tuple[Dot, str, bytes]]:
    for generation, fields in generations.items():
        for field, packed in fields.items():
            yield generation, field, packed


def _pairs(body: object) -> Iterator[tuple[str, list[Any]]]:
    if type(body) is not list:
        raise Broken("not an array")
    for name, generations in body:
        if type(generations) is not list:
            raise Broken("generations are not an array")
        yield _text(name), generations


def _cells(name: str, generation: Dot, flat: object) -> Iterator[tuple[str, Dot, str, bytes, cells.Flat]]:
    if type(flat) is not list or len(flat) % 2 or not flat:
        raise Broken("fields are not an array of pairs")
    seen: set[str] = set()
    for field, packed in zip(flat[::2], flat[1::2], strict=True):
        items = cells.checked(packed)
        if items is None:
            raise Broken("a cell is not one")
        if _text(field) in seen:
            raise Broken("a cell is there twice")
        seen.add(field)
        yield name, generation, field, packed, items


def _text(value: object) -> str:
    if type(value) is not str or len(value) > TEXT_CHARACTERS_MAX:
        raise Broken("a name is not a text, or too long")
    return value


def _generation(incarnation: object, seq: object) -> Dot:
    if (
        type(incarnation) is int
        and type(seq) is int
        and 0 <= incarnation <= INCARNATION_MAX
        and 0 <= seq <= SEQ_MAX
    ):
        return (incarnation, seq)
    raise Broken("a generation is not a dot")
