"""Writing a project's stored fold anew, from memory, into a checkpoint of its own.

A store takes what is higher and keeps what is not: a cell that was wrong and higher can only be left behind. Everything
is staged while the node goes on; then one member row switches, as with a snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Final

import trio

from vexil.node.pipeline import Pipeline
from vexil.node.project import Project
from vexil.node.region_writer import RegionWriter
from vexil.node.seams import FoldEntry, Store, StoreError, StoreUnavailable
from vexil.node.staging import entries_of

STAGE_ENTRIES: Final = 1_000
TRIES_MAX: Final = 5
PAUSE_MS: Final = 200
CATCH_UPS_MAX: Final = 5
"""Rounds over what was changed meanwhile, before the rest is done with writes held up."""
LAST_OBJECTS: Final = 100
SWITCH_LIMIT_S: Final = 10.0
"""How long writes are held up at most for a store that does not take the switch."""


async def rewrite_fold(
    project: Project, store: Store, writer: RegionWriter, pipeline: Pipeline, rng: Random
) -> None:
    """Return when the slot's fold is what is in memory, and nothing else.

    Raises StoreError, or TooManyCuts, or StoreUnavailable while a snapshot is being merged: the stored fold is then
    the one that it was.
    """
    if project.merging:
        raise StoreUnavailable(f"{project.name}: a snapshot is being merged")
    project.merging = True
    old, fresh = writer.checkpoint(project.name), writer.new_checkpoint(project.name)
    switched = False
    try:
        switched = await _stage_and_switch(project, store, writer, pipeline, rng, fresh)
        if not switched:
            raise StoreUnavailable(f"the store did not take the switch in {SWITCH_LIMIT_S} s")
    finally:
        project.merging = False
        with trio.move_on_after(SWITCH_LIMIT_S):
            await _drop(project.name, store, writer, old if switched else fresh)


async def _stage_and_switch(
    project: Project, store: Store, writer: RegionWriter, pipeline: Pipeline, rng: Random, checkpoint: int
) -> bool:
    replica = project.replica
    cut = replica.cut()
    try:
        for _ in cut.sort():
            await trio.lowlevel.checkpoint()
        names: Iterable[str] = cut.names
        for _ in range(CATCH_UPS_MAX):
            await _stage(project, store, rng, checkpoint, names)
            names = sorted(cut.changed)
            cut.close()
            cut = replica.cut()
            if len(names) <= LAST_OBJECTS:
                break
        # What is dirty now need not be written while everybody waits.
        await writer.flush()
        switched = False
        async with pipeline.exclusive():
            await _stage(project, store, rng, checkpoint, sorted({*names, *cut.changed}))
            with trio.move_on_after(SWITCH_LIMIT_S):
                async with writer.exclusive():
                    await writer.switch(project.name, checkpoint, replica.header(), replica.vv)
                    switched = True
        return switched
    finally:
        cut.close()


async def _stage(project: Project, store: Store, rng: Random, checkpoint: int, names: Iterable[str]) -> None:
    entries: list[FoldEntry] = []
    for name in names:
        for generation, fields in project.replica.cells(name).items():
            for field, packed in fields.items():
                entries += entries_of(name, generation, field, packed)
        if len(entries) >= STAGE_ENTRIES:
            await _write(project.name, store, rng, checkpoint, entries)
            entries = []
    await _write(project.name, store, rng, checkpoint, entries)


async def _write(project: str, store: Store, rng: Random, checkpoint: int, entries: list[FoldEntry]) -> None:
    for last in (*[False] * (TRIES_MAX - 1), True):
        try:
            if entries:
                await store.write_fold(project, entries, checkpoint=checkpoint)
            await trio.lowlevel.checkpoint()
        except StoreError:
            if last:
                raise
            await trio.sleep(PAUSE_MS * rng.uniform(0.5, 1.5) / 1000)
        else:
            return


async def _drop(project: str, store: Store, writer: RegionWriter, checkpoint: int) -> None:
    """Remove a fold that is not the slot's; what cannot be removed now is when the node starts next."""
    try:
        # A switch that was cut off may have reached the store: only the next row says that it is void.
        await writer.flush()
        await store.drop_fold(project, checkpoint)
    except StoreError:
        return
