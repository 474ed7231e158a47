"""Restoring a backup: a snapshot that comes from a file, into a project that has nothing yet.

The file is read and checked wholly before anything is written. Its state then goes the way of every snapshot: staged,
and switched to in one step. Only after that the rows of its log are written behind it and the project is defined, so
nobody ever sees a part of it. Sent again, a file of which all or some has been restored is gone on with.

The file of ``_system`` is another matter: a cluster has its own. Of that only projects and keys are taken, by ordinary
writes; never its members, and nothing that is there already is changed, but that a revoked key is revoked here too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, Final, Protocol

import trio

from vexil.crdt import schema
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.pen import CellWrite
from vexil.crdt.renaming import incarnations_of, names_for, renamed_header, renamed_object
from vexil.crdt.replica import HASH_BITS, Replica, object_sum
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.crdt.system_state import read_key, read_project
from vexil.node import errors
from vexil.node.authoring.intent import Intent
from vexil.node.authoring.settings import create_key, put_project, revoke_key
from vexil.node.backup_file import BackupError, is_system
from vexil.node.backup_reading import Backup, read_backup
from vexil.node.directory import Directory
from vexil.node.errors import FieldError, Invalid
from vexil.node.project import Project
from vexil.node.seams import LogRecord, PeerError, Store, StoreError
from vexil.node.snapshots import Snapshots
from vexil.node.telemetry import Log

KIND: Final = "backup"
CHUNK_BYTES: Final = 128 << 10
SLICE_CELLS: Final = 1_000
"""So many cells are renamed in one turn of the event loop."""
ROWS_WRITTEN: Final = 500
KEYS_A_CHANGE: Final = 50
MESSAGE: Final = "restored from a backup"


class RestoreHost(Protocol):
    """The node that a backup is restored to."""

    system: Project
    directory: Directory
    projects: dict[str, Project]

    def open_project(self, name: str) -> Project | None:
        """The project, made empty if it is not here; None if there are too many."""

    def admit_restore(self) -> None:
        """Raises ApiError while this node takes no writes."""

    def observe_hlc(self, hlc: int) -> None:
        """The highest stamp of a state."""

    async def write(
        self, project: str, decide: Callable[[Project], Intent], *, author: str, message: str = ""
    ) -> object:
        """Make one change. Raises ApiError."""


class Restoring:
    """Takes files in, one at a time: one may hold hundreds of megabytes."""

    def __init__(self, host: RestoreHost, snapshots: Snapshots, store: Store, log: Log) -> None:
        """``snapshots`` is what every whole state comes in by."""
        self._host = host
        self._snapshots = snapshots
        self._store = store
        self._log = log
        self._one = trio.Lock()

    async def restore(self, name: str, data: bytes, *, author: str, dry_run: bool) -> dict[str, Any]:
        """Restore the file ``data`` as the project ``name``, and tell what was done, or what would be.

        Raises Invalid for what is no whole backup or none of this kind of project, Exists for a project that is not
        empty, and what a write raises; an error that is not definite asks for the same file once more.
        """
        self._host.admit_restore()
        try:
            self._one.acquire_nowait()
        except trio.WouldBlock:
            raise errors.RateLimited("another restore is under way here") from None
        try:
            try:
                backup = await read_backup(_chunks(data))
            except BackupError as error:
                raise _invalid(str(error)) from None
            if is_system(backup.manifest) != (name == SYSTEM_PROJECT):
                raise _invalid(f"this is a backup of {backup.manifest.project!r}: it cannot become {name!r}")
            if name == SYSTEM_PROJECT:
                return await self._restore_system(backup, author, dry_run=dry_run)
            return await self._restore_project(name, backup, author, dry_run=dry_run)
        finally:
            self._one.release()

    # -- a project

    async def _restore_project(
        self, name: str, backup: Backup, author: str, *, dry_run: bool
    ) -> dict[str, Any]:
        manifest = backup.manifest
        define = self._definition(name, manifest.environments, manifest.bucketing)
        define(self._host.system)
        copy = any(self._host.directory.place_of(i) for i in incarnations_of(backup.state))
        if copy:
            backup.state = await _copied(backup.state, name)
            # They are of the other project, as the rows are, whose hashes name their incarnations.
            backup.keys, backup.rows = [], []
        present = self._host.projects.get(name)
        _refuse_living(present, name, backup.state)
        told = {
            "project": name,
            "backup_of": manifest.project,
            "environments": list(manifest.environments),
            "flags": sum(n.startswith(f"{schema.FLAG}/") for n in backup.state.objects),
            "objects": len(backup.state.objects),
            "changes": len(backup.rows),
            "idempotency_keys": len(backup.keys),
            "root_hash": backup.state.root_hash(),
            "copy": copy,
            "dry_run": dry_run,
        }
        if dry_run:
            return told
        project = self._host.open_project(name)
        if project is None:
            raise errors.LimitExceeded("projects", "there are as many projects here as there can be")
        if not project.replica.vv:
            await self._take_over(project, backup)
        try:
            await self._write_rows(project.name, backup.rows)
            await self._host.write(SYSTEM_PROJECT, define, author=author, message=MESSAGE)
        except (StoreError, errors.ApiError) as error:
            raise _unfinished(
                f"the state of {name!r} is here, but not all that belongs to it: {error}"
            ) from None
        self._log.info("restored", **told)
        return told

    def _definition(
        self, name: str, environments: Sequence[str], bucketing: str
    ) -> Callable[[Project], Intent]:
        def define(system: Project) -> Intent:
            known = read_project(system.replica.cells(schema.project_object(name)))
            wanted = sorted({*known.environments, *environments})
            return put_project(system, name, {"environments": wanted, "bucketing": bucketing})

        return define

    async def _take_over(self, project: Project, backup: Backup) -> None:
        manifest = backup.manifest
        if project.merging:
            raise errors.RateLimited("a snapshot of this project is under way")
        known = self._host.directory.projects.get(project.name)
        if known is None or not known.exists:
            # The views are then made beside the state, slice by slice, and not when the definition is written.
            project.configure(manifest.environments, manifest.bucketing)
        try:
            await self._snapshots.take_over(
                project,
                backup.state,
                backup.keys,
                admit=lambda: _refuse_living(project, project.name, None),
            )
        except StoreError as error:
            raise errors.DurabilityUnavailable(
                f"the store does not take it, nothing is changed: {error}"
            ) from None
        except PeerError as error:
            _refuse_living(project, project.name, None)
            raise _invalid(str(error)) from None
        self._host.observe_hlc(manifest.hlc)

    async def _write_rows(self, project: str, rows: Sequence[LogRecord]) -> None:
        for start in range(0, len(rows), ROWS_WRITTEN):
            batch = [row._replace(project=project) for row in rows[start : start + ROWS_WRITTEN]]
            await self._store.write_past(project, batch)
            await trio.lowlevel.checkpoint()

    # -- the cluster's own

    async def _restore_system(self, backup: Backup, author: str, *, dry_run: bool) -> dict[str, Any]:
        here = self._host.directory
        projects, keys = [], []
        for name in sorted(backup.state.objects):
            kind, key = schema.parse_object(name) or ("", "")
            generations = backup.state.cells(name)
            if kind == schema.PROJECT:
                project = read_project(generations)
                if project.exists and not (key in here.projects and here.projects[key].exists):
                    projects.append((key, project))
            elif kind == schema.KEY:
                state = read_key(generations)
                known = here.keys.get(key)
                if state.record is not None and (known is None or (state.revoked and not known.revoked)):
                    keys.append((key, state))
        told = {
            "project": SYSTEM_PROJECT,
            "projects": [name for name, _ in projects],
            "keys": len(keys),
            "dry_run": dry_run,
        }
        if dry_run:
            return told
        written = 0
        try:
            for name, project in projects:
                define = self._definition(name, project.environments, project.bucketing)
                await self._host.write(SYSTEM_PROJECT, define, author=author, message=MESSAGE)
                written += 1
            for start in range(0, len(keys), KEYS_A_CHANGE):
                some = [(k, s.record or {}, s.revoked) for k, s in keys[start : start + KEYS_A_CHANGE]]
                with_keys = partial(_with_keys, keys=some)
                await self._host.write(SYSTEM_PROJECT, with_keys, author=author, message=MESSAGE)
                written += 1
        except errors.ApiError as error:
            error.definite = error.definite and not written
            raise
        self._log.info("restored", **told)
        return told


def _with_keys(system: Project, *, keys: Sequence[tuple[str, Mapping[str, Any], bool]]) -> Intent:
    """Write those keys that are not here, and revoke those that were revoked."""
    writes: list[CellWrite] = []
    reads: set[str] = set()
    for key, record, is_revoked in keys:
        name = schema.key_object(key)
        reads.add(name)
        if system.replica.cells(name):
            if is_revoked:
                writes += revoke_key(system, key).writes
            continue
        writes += create_key(system, key, record).writes
        if is_revoked:
            writes.append(CellWrite(name, NO_GENERATION, schema.REVOKED, value=True))
    return Intent(writes, reads=frozenset(reads))


def _refuse_living(project: Project | None, name: str, same: Replica | None) -> None:
    """Raises Exists for a project that has a state already, unless it is ``same``."""
    if project is None:
        return
    mine = project.replica
    if not mine.vv and not mine.retired and not project.waiting:
        return
    if same is None or (mine.vv_hash(), mine.root, mine.retired) != (same.vv_hash(), same.root, same.retired):
        raise errors.Exists(schema.PROJECT, name)


async def _copied(state: Replica, name: str) -> Replica:
    """``state`` under incarnations of its own: those that it has are this cluster's."""
    salt = blake2b(name.encode() + bytes.fromhex(state.vv_hash())).digest()
    names = names_for(incarnations_of(state), salt=salt)
    copy = Replica()
    root = size = 0
    for object_name, generations in state.objects.items():
        made = renamed_object(object_name, generations, names)
        if made:
            copy.objects[object_name] = made
            root += object_sum(object_name, made)
        size += sum(map(len, generations.values()))
        if size >= SLICE_CELLS:
            size = 0
            await trio.lowlevel.checkpoint()
    copy.load_header(renamed_header(state, names, root=root & ((1 << HASH_BITS) - 1)))
    copy.settle_retired()
    return copy


def _chunks(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), CHUNK_BYTES):
        yield data[start : start + CHUNK_BYTES]


def _invalid(detail: str) -> Invalid:
    return Invalid(KIND, [FieldError("", detail)])


def _unfinished(detail: str) -> errors.ApiError:
    error = errors.DurabilityUnavailable(f"{detail}: send the same file again")
    error.definite = False
    return error
