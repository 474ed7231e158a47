"""Environments as documents of the SDK: the body of ``GET /sdk/v1/flags`` and the ``put`` of a stream, made once.

A document is a tuple of pieces of bytes that all its readers share. Flags lie in blocks by the checksum of their key:
after an edit only the block that holds the flag is encoded again, so a crowd of newcomers between two edits costs
little, even of an environment with 100,000 flags. Whatever is long is done in turns of the event loop, on a cut.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from operator import is_
from typing import Any, Final, NamedTuple
from zlib import crc32

import trio

from vexil.node.api import json_body
from vexil.node.api.made_once import MadeOnce
from vexil.node.project import Project
from vexil.sdk.model import FlagSet

TURN_NAMES: Final = 2_000
"""Flags that are put into blocks, or members that are encoded, in one turn (some 2 ms)."""
TURN_BYTES: Final = 128 * 1024
"""Encoded in one turn (some 2 ms)."""
BLOCK_FLAGS: Final = 128
"""Flags in one block, about."""


class FlagSetDocument(NamedTuple):
    """One document. ``token`` names the state that it is of; ``pieces`` joined are the JSON."""

    version: str
    token: str
    pieces: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return sum(map(len, self.pieces))


class _Block(NamedTuple):
    documents: list[object]
    encoded: bytes


@dataclass(slots=True)
class _Blocks:
    """What was encoded last, of one environment."""

    flags: dict[tuple[int, int], _Block] = field(default_factory=dict)
    """By their number and how many there are."""
    segments: dict[str, tuple[object, tuple[bytes, ...]]] = field(default_factory=dict)


class _Made(NamedTuple):
    document: FlagSetDocument
    blocks: _Blocks


class FlagSetDocuments:
    """The last document of each environment; bounded."""

    __slots__ = ("_made",)

    def __init__(self, *, kept_max: int) -> None:
        """None yet."""
        self._made: MadeOnce[tuple[str, str], _Made] = MadeOnce(kept_max=kept_max)

    async def of(self, project: Project, environment: str, token: Callable[[], str]) -> FlagSetDocument:
        """The document of ``environment``, which is one of the project's, at one moment since the call began.

        ``token`` gives the token of the project's present state. Callers that come together share one making.
        """
        address = (project.name, environment)
        flag_set = project.flag_set(environment)

        async def make() -> _Made:
            before = self._made.last(address)
            return await _make(flag_set, token(), _Blocks() if before is None else before.blocks)

        made = await self._made.of(
            address, flag_set, make, current=lambda made: made.document.version == flag_set.version
        )
        return made.document


async def _make(flag_set: FlagSet, token: str, blocks: _Blocks) -> _Made:
    with flag_set.cut() as cut:
        await trio.lowlevel.checkpoint()  # a large cut is a turn of its own
        pieces = tuple([piece async for piece in _pieces(cut, blocks)])
        return _Made(FlagSetDocument(cut.version, token, pieces), blocks)


async def segment_pieces(document: Mapping[str, Any]) -> AsyncIterator[bytes]:
    """One segment's JSON in pieces; a large one's members come in no order. Nobody may change them meanwhile."""
    rules = json_body.encode(document["rules"])
    members = document["members"]
    if len(members) <= TURN_NAMES:
        yield b'{"members":' + json_body.encode(sorted(members)) + b',"rules":' + rules + b"}"
        return
    begin = b'{"members":['
    remaining = iter(members)
    while turn := list(islice(remaining, TURN_NAMES)):
        yield begin + json_body.encode(turn)[1:-1]
        begin = b","
        await trio.lowlevel.checkpoint()
    yield b'],"rules":' + rules + b"}"


async def _pieces(cut: FlagSet, blocks: _Blocks) -> AsyncIterator[bytes]:
    head = {"version": cut.version, "bucketing": cut.bucketing}
    begin = json_body.encode(head)[:-1] + b',"flags":{'
    kept: dict[tuple[int, int], _Block] = {}
    flags, looked_at = cut.flags, 0
    for address, keys in (await _in_blocks(flags)).items():
        documents: list[object] = [flags[key] for key in keys]
        looked_at += len(keys)
        if looked_at > TURN_NAMES:
            await trio.lowlevel.checkpoint()
            looked_at = 0
        block = blocks.flags.get(address)
        if (
            block is None
            or len(block.documents) != len(documents)
            or not all(map(is_, block.documents, documents))
        ):
            block = _Block(documents, await _members(keys, documents))
        kept[address] = block
        yield begin + block.encoded
        begin = b","
    blocks.flags = kept
    if not kept:
        yield begin
    begin = b'},"segments":{'
    segments: dict[str, tuple[object, tuple[bytes, ...]]] = {}
    for key, document in cut.segments.items():
        known = blocks.segments.get(key)
        if known is None or known[0] is not document:
            known = (document, tuple([piece async for piece in segment_pieces(document)]))
        segments[key] = known
        yield begin + json_body.encode(key) + b":"
        for piece in known[1]:
            yield piece
        begin = b","
    blocks.segments = segments
    if not segments:
        yield begin
    rest = {"evaluators": dict(cut.evaluators), "metadata": dict(cut.metadata)}
    yield b"}," + json_body.encode(rest)[1:]


async def _in_blocks(flags: Mapping[str, object]) -> dict[tuple[int, int], list[str]]:
    """Keys by block. How many blocks there are doubles with the flags: else every new flag would move all others."""
    count = 1 << max(0, len(flags) // BLOCK_FLAGS).bit_length()
    found: dict[tuple[int, int], list[str]] = {}
    remaining = iter(flags)
    while turn := list(islice(remaining, TURN_NAMES)):
        for key in turn:
            found.setdefault((crc32(key.encode()) & (count - 1), count), []).append(key)
        if len(turn) == TURN_NAMES:
            await trio.lowlevel.checkpoint()
    return found


async def _members(keys: list[str], documents: list[object]) -> bytes:
    """Members of an object, in turns if the flags are large."""
    encoded: list[bytes] = []
    size = 0
    for key, document in zip(keys, documents, strict=True):
        encoded.append(json_body.encode(key) + b":" + json_body.encode(document))
        size += len(encoded[-1])
        if size > TURN_BYTES:
            await trio.lowlevel.checkpoint()
            size = 0
    await trio.lowlevel.checkpoint()
    return b",".join(encoded)
