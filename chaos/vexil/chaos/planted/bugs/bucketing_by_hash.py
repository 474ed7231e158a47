"""Buckets are drawn by Python's own hash, which every process salts for itself: each puts the same person elsewhere.

The salt is the process's here, too, and comes from the seed: a run can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final
from unittest.mock import patch
from zlib import crc32

import trio

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.node.engine import Engine
from vexil.sdk import buckets
from vexil.sdk.client.core import Core
from vexil.sdk.compiler import runtime

_SALT: ContextVar[int] = ContextVar("salt", default=0)
"""Of the process whose task asks."""
_OF_CLIENTS: Final = 1


@contextmanager
def _apply() -> Iterator[None]:
    sound_engine, sound_client = Engine.run, Core.run

    async def run(self: Engine, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        _SALT.set(self.incarnation & 0xFFFFFFFF)
        await sound_engine(self, task_status=task_status)

    async def run_client(self: Core) -> None:
        _SALT.set(_OF_CLIENTS)
        await sound_client(self)

    def hashed(data: bytes) -> int:
        return crc32(data, _SALT.get())

    with (
        patch.object(Engine, "run", run),
        patch.object(Core, "run", run_client),
        patch.object(buckets, "murmur", hashed),
        patch.dict(runtime.NAMES, murmur=hashed),
    ):
        yield


BUG: Final = PlantedBug(
    29, "bucketing by hash", frozenset(("P14",)), _apply, profiles=frozenset(("calm", "storms"))
)
