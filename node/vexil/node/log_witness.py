"""What the log says of single cells: the rows that decide when two nodes hold two versions of one.

A row from the own log counts if it fits its incarnation's hash chain, as far as the chain is at hand: the head, or the
row behind it. Else a peer's does, under the same condition. Only where neither is at hand the row is taken as it comes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import trio

from vexil.crdt import cell as cells
from vexil.crdt.change import Change, Dot, Undecodable, decode
from vexil.crdt.mending import Address, Known, with_facts
from vexil.node.gossip import messages
from vexil.node.gossip.messages import Malformed, Message
from vexil.node.gossip.service import PULL
from vexil.node.own_log import OwnLog
from vexil.node.project import Project
from vexil.node.seams import PeerNonsense, PeerRefused

ROW_BYTES_MAX: Final = 4 << 20
ROWS_CACHED_MAX: Final = 256
ASKED_MAX: Final = 1_000
"""Rows that one repair asks a peer for; what would need more is left to the next one."""
SCANNED_MAX: Final = 200_000
SCAN_ROWS: Final = 200
"""Of one page of a scan: looked at in one turn of the event loop."""

Ask = Callable[[str, Mapping[str, object]], Awaitable[Message]]


class TooManyRows(Exception):
    """The peer has been asked for `ASKED_MAX` rows."""


class LogWitness:
    """The log of one project, for one repair."""

    def __init__(self, log: OwnLog, project: Project, ask: Ask, known: Known) -> None:
        """``ask`` calls the peer; ``known`` is the state that is being repaired."""
        self._log = log
        self._project = project
        self._ask = ask
        self._known = known
        self._rows: dict[Dot, Change | None] = {}
        self._asked = 0

    async def row(self, dot: Dot) -> Change | None:
        """The change, or None if nobody has its row. Raises StoreError, PeerError, TooManyRows."""
        incarnation, seq = dot
        if not 0 < seq <= self._known(incarnation):
            return None
        if dot not in self._rows:
            if len(self._rows) >= ROWS_CACHED_MAX:
                self._rows.clear()
            self._rows[dot] = await self._local(dot) or await self._of_peer(dot)
        return self._rows[dot]

    async def _local(self, dot: Dot) -> Change | None:
        for change in await self._read(dot):
            if await self._fits(change):
                return change
        return None

    async def _of_peer(self, dot: Dot) -> Change | None:
        if self._asked >= ASKED_MAX:
            raise TooManyRows
        self._asked += 1
        incarnation, seq = dot
        have = {**self._project.replica.vv, incarnation: seq - 1}
        if seq == 1:
            del have[incarnation]
        request = {
            "project": self._project.name,
            "vv": messages.flat_vv(have),
            "skip": [],
            "page_bytes": messages.PAGE_BYTES_MIN,
        }
        try:
            raws = (await self._ask(PULL, request)).changes("changes")
        except Malformed as error:
            raise PeerNonsense(str(error)) from None
        except PeerRefused:
            return None  # it has no log to read at the moment
        for raw in raws:
            try:
                change = decode(raw)
            except Undecodable:
                continue
            if change.dot == dot and await self._fits(change):
                return change
        return None

    async def _fits(self, change: Change) -> bool:
        replica = self._project.replica
        incarnation, seq = change.dot
        if replica.vv.get(incarnation) == seq:
            return change.chain == replica.head(incarnation)
        following = await self._read((incarnation, seq + 1))
        return not following or any(behind.previous == change.chain for behind in following)

    async def _read(self, dot: Dot) -> list[Change]:
        """What the own log has under a dot; a fork's log may have two."""
        incarnation, seq = dot
        after = {incarnation: seq - 1} if seq > 1 else {}
        records = await self._log.read(
            self._project.name, after=after, through={incarnation: seq}, limit_bytes=ROW_BYTES_MAX
        )
        found = []
        for record in records:
            try:
                change = decode(record.raw)
            except Undecodable:
                continue
            if change.dot == dot:
                found.append(change)
        return found

    async def later(self, contested: Mapping[Address, set[Dot]]) -> dict[Address, bytes]:
        """What the own log says of these cells from its newest row down to the last of these dots.

        Whatever has replaced a lane came behind it. Looks at `SCANNED_MAX` rows at most. Raises StoreError.
        """
        left = set().union(*contested.values()) if contested else set()
        names = {address.object.encode() for address in contested}
        facts: dict[Address, bytes] = {}
        before: str | None = None
        scanned = 0
        while left and scanned < SCANNED_MAX:
            rows = await self._log.read_history(self._project.name, before=before, limit=SCAN_ROWS)
            if not rows:
                break
            for row in rows:
                if any(name in row.raw for name in names):
                    self._add_facts(row.raw, contested, facts, left)
            scanned += len(rows)
            before = rows[-1].cursor
            await trio.lowlevel.checkpoint()
        return facts

    def _add_facts(
        self, raw: bytes, contested: Mapping[Address, set[Dot]], facts: dict[Address, bytes], left: set[Dot]
    ) -> None:
        try:
            change = decode(raw)
        except Undecodable:
            return
        left.discard(change.dot)
        for operation in change.operations:
            address = Address(*operation[:3])
            if address in contested:
                facts[address] = with_facts(facts.get(address, cells.EMPTY), address, (change,), self._known)
