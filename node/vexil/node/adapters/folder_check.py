"""A node's data folder, looked at from outside: is it whole, and does it say what it should? Nothing in it is changed.

Everything is read in one transaction of a read-only connection, so a running node is neither disturbed nor waited for.
A running node may be in the middle of a round, in which the fold is ahead of its header; so is what a crash leaves.
Then the root hash says nothing, and a running node's folder is looked at again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from vexil.crdt import cell as cells
from vexil.crdt.change import GENESIS, Undecodable, decode
from vexil.crdt.replica import HASH_BITS, Generations, Replica, object_sum
from vexil.crdt.schema import RETIRED_OBJECT
from vexil.node.adapters import sqlite_fold, sqlite_state
from vexil.node.adapters.folder_lock import LOCK_FILE, LOCK_TEXT_BYTES_MAX
from vexil.node.adapters.returned_files import STORE_FILE, archives
from vexil.node.adapters.sqlite_file import explain
from vexil.node.adapters.sqlite_log import checksum
from vexil.node.adapters.sqlite_migrations import SCHEMA_VERSION
from vexil.node.adapters.system import pause
from vexil.node.seams import FoldEntry, LogRecord, MemberRow

FREE_BYTES_MIN: Final = 256 << 20
"""Room on the disk; with less, a day of writes may fill it."""
INTEGRITY_LINES_MAX: Final = 10
NAMED_MAX: Final = 5
"""Damaged rows that are named; the others are counted."""
LOOKS_MAX: Final = 5
"""So often a running node's fold is looked at until it is level with its header."""
LOOK_PAUSE_S: Final = 0.3
_HEADER_BYTES: Final = 100
_MAGIC: Final = b"SQLite format 3\0"
_MASK: Final = (1 << HASH_BITS) - 1


class Problem(NamedTuple):
    """Something in a folder; ``code`` is stable. Not ``serious``: worth knowing."""

    code: str
    what: str
    serious: bool = True


@dataclass(slots=True)
class _Count:
    """Rows that are wrong in the same way."""

    count: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.named) < NAMED_MAX:
            self.named.append(name)

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.named) else ""
        return f"{self.count} ({', '.join(self.named)}{more})"


def examine(folder: Path) -> list[Problem]:
    """All that is wrong with a node's folder. Never raises for what is in it."""
    path = folder / STORE_FILE
    try:
        if not path.is_file():
            return [Problem("folder.empty", f"there is no {STORE_FILE} in {folder}")]
        found, running = _lock(folder)
        if not running and (missing := _missing_bytes(path)):
            found.append(Problem("file.damaged", f"{path} is cut short: {missing} bytes are missing"))
        free = shutil.disk_usage(folder).free
        if free < FREE_BYTES_MIN:
            found.append(Problem("disk.full", f"{free >> 20} MiB are free on its disk"))
        found += [
            Problem("folder.returned", f"{old.name}: a state that is yet to be brought back", serious=False)
            for old in archives(folder)
        ]
    except OSError as error:
        return [Problem("folder.unreadable", f"{folder}: {error.strerror or error}")]
    for last in (*[False] * (LOOKS_MAX - 1), True):
        inside = _look(path, running=running)
        again = running and not last and any(problem.code == "fold.ahead" for problem in inside)
        if not again:
            return [*found, *inside]
        pause(LOOK_PAUSE_S)
    raise AssertionError("the last look returns")


def _lock(folder: Path) -> tuple[list[Problem], bool]:
    """Whether a process works in the folder."""
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY)
    except FileNotFoundError:
        return [], False
    try:
        try:
            # Shared, and let go at once: it keeps nobody out.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(descriptor, LOCK_TEXT_BYTES_MAX, 0).decode("ascii", "replace").split("\n")
            who = f"process {text[0]}" if text[0].isdecimal() else "a process"
            return [
                Problem("folder.locked", f"{who} works in it: it is only read from here", serious=False)
            ], True
        return [], False
    finally:
        os.close(descriptor)


def _missing_bytes(path: Path) -> int:
    """By how much a file is shorter than its own header says; SQLite itself reads what is missing as zeros."""
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        return _HEADER_BYTES - len(header)
    if not header.startswith(_MAGIC):
        return 0  # what it is instead, SQLite says
    page_bytes = int.from_bytes(header[16:18], "big")
    pages = int.from_bytes(header[28:32], "big")
    # 1 stands for a number that has no place in two bytes.
    return max(0, (1 << 16 if page_bytes == 1 else page_bytes) * pages - path.stat().st_size)


def _look(path: Path, *, running: bool) -> list[Problem]:
    try:
        # SQLite makes the files beside a cleanly closed one anew, and whoever only reads cannot remove them.
        whole = not running and not path.with_name(f"{path.name}-wal").exists()
        options = "mode=ro&immutable=1" if whole else "mode=ro"
        address = f"file:{quote(str(path.absolute()))}?{options}"
        with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("BEGIN")
            return list(_contents(connection, path))
    except sqlite3.Error as error:
        return [Problem("file.damaged", explain(path, error))]
    except Exception as error:  # noqa: BLE001 - a row whose very types were altered can fail anywhere in the reading
        return [Problem("file.damaged", f"{path}: a row cannot be read ({type(error).__name__}: {error})")]


def _contents(connection: sqlite3.Connection, path: Path) -> Iterator[Problem]:
    lines = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({INTEGRITY_LINES_MAX})")]
    if lines != ["ok"]:
        yield Problem("file.damaged", f"{path}: {'; '.join(line.strip() for line in lines)}")
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"schema", "log", "fold", "member"} <= tables:
        yield Problem("file.foreign", f"{path} is not one of Vexil's")
        return
    (version,) = connection.execute("SELECT max(version) FROM schema").fetchone()
    if version != SCHEMA_VERSION:
        newer = type(version) is not int or version > SCHEMA_VERSION
        yield Problem(
            "file.version",
            f"{path} is of version {version}, this program of {SCHEMA_VERSION}: its contents are not looked at",
            serious=newer,
        )
        return
    (aside,) = connection.execute("SELECT count(*) FROM aside").fetchone()
    if aside:
        yield Problem("log.aside", f"{aside} changes were refused and are kept aside")
    log = _Log()
    yield from log.look(connection)
    for (slot,) in connection.execute("SELECT slot FROM member").fetchall():
        try:
            row = sqlite_state.read_member(connection, slot)
        except ValueError as error:
            yield Problem("member.damaged", str(error))
            continue
        if row is not None:
            yield from _folds(connection, row, log)


class _Log:
    """The log: checksums, hash chains, and how far each incarnation goes without a gap."""

    def __init__(self) -> None:
        self.firsts: dict[tuple[str, int], int] = {}
        self.lasts: dict[tuple[str, int], int] = {}
        self.chains: dict[tuple[str, int], set[bytes]] = {}

    def reach(self, project: str, incarnation: int, folded: int) -> int:
        """Up to which seq the log goes on from ``folded`` without a gap; 0 if it does not."""
        of = (project, incarnation)
        return self.lasts.get(of, 0) if self.firsts.get(of, 0) <= folded + 1 else 0

    def look(self, connection: sqlite3.Connection) -> Iterator[Problem]:
        damaged, broken, forked = _Count(), _Count(), _Count()
        names = connection.execute(
            "SELECT stream.id, name, incarnation FROM stream JOIN project ON project.id = stream.project"
        ).fetchall()
        for stream, project, packed in names:
            incarnation = int.from_bytes(packed, "big")
            self._stream(connection, stream, (project, incarnation), damaged, broken, forked)
        if damaged.count:
            yield Problem("log.damaged", f"rows of the log with a wrong checksum: {damaged}")
        if broken.count:
            yield Problem("log.chain", f"rows of the log that do not fit the ones before them: {broken}")
        if forked.count:
            yield Problem("log.fork", f"changes of which the log has two: {forked}")

    def _stream(
        self,
        connection: sqlite3.Connection,
        stream: int,
        of: tuple[str, int],
        damaged: _Count,
        broken: _Count,
        forked: _Count,
    ) -> None:
        project, incarnation = of
        last = 0
        before: set[bytes] = set()
        here: set[bytes] = set()
        sql = "SELECT seq, checksum, CAST(raw AS BLOB) FROM log WHERE stream = ? ORDER BY seq, position"
        for seq, check, raw in connection.execute(sql, (stream,)):
            name = f"{project} {incarnation:016x}:{seq}"
            if type(raw) is not bytes or checksum(LogRecord(project, incarnation, seq, raw)) != check:
                damaged.add(name)
                continue
            try:
                change = decode(raw)
            except Undecodable:
                damaged.add(name)
                continue
            if seq != last:
                before = here if seq == last + 1 else set()
                here = set()
            elif here:
                forked.add(name)
            if (before and change.previous not in before) or (seq == 1 and change.previous != GENESIS):
                broken.add(name)
            here.add(change.chain)
            self.firsts.setdefault(of, seq)
            # A gap: what is behind it cannot be told to belong to what is before.
            if self.lasts.get(of, seq - 1) >= seq - 1:
                self.lasts[of], self.chains[of] = seq, set(here)
            last = seq


def _folds(connection: sqlite3.Connection, row: MemberRow, log: _Log) -> Iterator[Problem]:
    replicas: dict[str, Replica] = {}
    for project, header in row.fold.items():
        replica = Replica()
        try:
            replica.load_header(header)
        except ValueError as error:
            yield Problem("fold.header", f"{project}: {error}")
            continue
        replicas[project] = replica
        checkpoint = row.checkpoint.get(project, 0)
        yield from _heads(project, replica, log)
        _settle(connection, project, checkpoint, replica)
        yield from _fold(connection, project, checkpoint, replica)
    for project, vv in row.vv.items():
        replica = replicas.get(project, Replica())
        lost = _Count()
        for incarnation, seq in vv.items():
            if (
                not replica.covers({incarnation: seq})
                and log.reach(project, incarnation, replica.known(incarnation)) < seq
            ):
                lost.add(f"{incarnation:016x} up to {seq}")
        if lost.count:
            yield Problem(
                "log.behind", f"{project}: changes that it had announced are not in its log: {lost}"
            )


def _settle(connection: sqlite3.Connection, project: str, checkpoint: int, replica: Replica) -> None:
    """Let the replica, which has its header only, know which incarnations are retired."""
    above = (RETIRED_OBJECT, b"", "", b"")
    for entry in _entries(connection, project, checkpoint, above):
        if entry.object != RETIRED_OBJECT:
            break
        packed = _cell_of(entry)
        if packed is not None:
            fields = replica.fields(entry.object, entry.generation)
            fields[entry.field] = cells.join(fields.get(entry.field, cells.EMPTY), packed)
    replica.settle_retired()


def _heads(project: str, replica: Replica, log: _Log) -> Iterator[Problem]:
    """The newest row of each incarnation is the one that the header names."""
    for incarnation, seq in replica.vv.items():
        of = (project, incarnation)
        if log.lasts.get(of) == seq and replica.head(incarnation) not in log.chains[of]:
            yield Problem("log.chain", f"{project}: {incarnation:016x}:{seq} is not the change of its fold")


def _fold(
    connection: sqlite3.Connection, project: str, checkpoint: int, replica: Replica
) -> Iterator[Problem]:
    broken = _Count()
    root = 0
    ahead = False
    known = replica.known
    for name, generations in _objects(_entries(connection, project, checkpoint), broken):
        root += object_sum(name, generations)
        ahead = ahead or any(
            seq > known(incarnation)
            for fields in generations.values()
            for packed in fields.values()
            for incarnation, seq in _dots(packed)
        )
    if broken.count:
        yield Problem("fold.damaged", f"{project}: rows of the state that are none: {broken}")
    elif ahead:
        yield Problem(
            "fold.ahead",
            f"{project}: the state is ahead of its header, so its root hash says nothing: it is being written, or "
            "was when the node ended",
            serious=False,
        )
    elif root & _MASK != replica.root:
        yield Problem(
            "fold.root",
            f"{project}: the state does not make the root hash {replica.root_hash()} of its header",
        )


def _entries(
    connection: sqlite3.Connection,
    project: str,
    checkpoint: int,
    above: sqlite_fold.FoldKey = sqlite_fold.FOLD_START,
) -> Iterator[FoldEntry]:
    behind: sqlite_fold.FoldKey | None = above
    while behind is not None:
        batch, behind = sqlite_fold.read(connection, project, checkpoint, behind)
        yield from batch


def _objects(entries: Iterator[FoldEntry], broken: _Count) -> Iterator[tuple[str, Generations]]:
    """The objects of a fold, one at a time, without what is no entry."""
    last: str | None = None
    generations: Generations = {}
    for entry in entries:
        if entry.object != last:
            if last is not None:
                yield last, generations
            last, generations = entry.object, {}
        packed = _cell_of(entry)
        if packed is None:
            broken.add(f"{entry.object} {entry.field} of {entry.incarnation:016x}")
            continue
        fields = generations.setdefault(entry.generation, {})
        before = fields.get(entry.field)
        fields[entry.field] = packed if before is None else cells.join(before, packed)
    if last is not None:
        yield last, generations


def _cell_of(entry: FoldEntry) -> bytes | None:
    packed = cells.from_entries((entry.entry,)) if type(entry.entry) is bytes else b""
    if not cells.check(packed):
        return None
    (told,) = cells.entries(packed)
    same = (told.incarnation, told.lane_seq, told.seen_seq) == (
        entry.incarnation,
        entry.lane_seq,
        entry.seen_seq,
    )
    return packed if same else None


def _dots(packed: bytes) -> Iterator[tuple[int, int]]:
    flat = cells.unpacked(packed)
    for at in range(0, len(flat), cells.WIDTH):
        yield flat[at], flat[at + 1]
        yield flat[at + 5], flat[at + 6]
