"""Environments as flagd documents; each is compiled once for every version of its flag set."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

import trio

from vexil.node.api import json_body
from vexil.node.api.turns import in_turns
from vexil.node.project import Project
from vexil.sdk import ofrep
from vexil.sdk.flagd import FlagdExport, NotExportable
from vexil.sdk.model import FlagSet


class Compiled(NamedTuple):
    """One document, and the flags that could not be said in it."""

    version: str
    flag_set: FlagSet
    body: bytes
    etag: str
    left_out: tuple[NotExportable, ...]


@dataclass(slots=True)
class _Making:
    """A document that is being compiled; ``made`` stays None if its maker was cancelled."""

    flag_set: FlagSet
    done: trio.Event = field(default_factory=trio.Event)
    made: Compiled | None = None


class Documents:
    """The last compiled document of each environment; bounded."""

    __slots__ = ("_made", "_making", "_max")

    def __init__(self, *, kept_max: int) -> None:
        """None yet."""
        self._max = kept_max
        self._made: OrderedDict[tuple[str, str], Compiled] = OrderedDict()
        self._making: dict[tuple[str, str], _Making] = {}

    async def of(self, project: Project, environment: str) -> Compiled:
        """The document of ``environment``, which is one of the project's, at one moment since the call began.

        A large one takes many turns of the event loop. Callers that come together share one compilation.
        """
        address = (project.name, environment)
        flag_set = project.flag_set(environment)
        begun_before = self._making.get(address)
        if begun_before is not None:
            # It may lack what this caller has seen.
            await begun_before.done.wait()
        while True:
            made = self._made.get(address)
            if made is not None and made.flag_set is flag_set and made.version == flag_set.version:
                self._made.move_to_end(address)
                return made
            making = self._making.get(address)
            if making is None:
                return await self._make(address, flag_set)
            await making.done.wait()
            if making.made is not None and making.flag_set is flag_set:
                return making.made

    async def _make(self, address: tuple[str, str], flag_set: FlagSet) -> Compiled:
        making = self._making[address] = _Making(flag_set)
        try:
            making.made = await _compile(flag_set)
        finally:
            del self._making[address]
            making.done.set()
        self._made[address] = making.made
        self._made.move_to_end(address)
        if len(self._made) > self._max:
            self._made.popitem(last=False)
        return making.made


async def _compile(flag_set: FlagSet) -> Compiled:
    flags: list[bytes] = []
    with flag_set.cut() as cut:
        export = FlagdExport(cut)
        async for turn in in_turns(sorted(cut.flags)):
            flags += [
                json_body.encode(key) + b":" + json_body.encode(flag)
                for key, flag in export.flags(turn).items()
            ]
        others = json_body.encode(export.others())[1:-1]
    body = b'{"flags":{' + b",".join(flags) + b"}" + (b"," + others if others else b"") + b"}"
    return Compiled(cut.version, flag_set, body, ofrep.entity_tag(body), tuple(export.left_out))
