"""What the background of a client does: one core after the other, each in a world of its own.

The one idea: it keeps no hold on its client, so that a client that is forgotten without being closed goes away, and
its thread with it. An error of our own ends a core, not the client: another one begins a while later, from what there
is.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

import trio

from vexil.sdk.client.adapters.disk import DiskFile
from vexil.sdk.client.adapters.http import HttpTransport
from vexil.sdk.client.adapters.system import SystemClock, new_rng
from vexil.sdk.client.core import Core, Plan, World
from vexil.sdk.client.state import Held, Publication

_log = logging.getLogger("vexil.sdk")

T = TypeVar("T")
RESTART_S: Final = 10.0
"""How long the background rests after an error of our own."""
SNAPSHOT_HEAD_BYTES_MAX: Final = 64 * 1024
"""What a snapshot has beside its set."""


class Weakly(Generic[T]):
    """A method, as long as its object lives."""

    def __init__(self, method: Callable[[T], None]) -> None:
        self._method = weakref.WeakMethod(method)

    def __call__(self, value: T) -> None:
        """Call it, if there is anything to call."""
        method = self._method()
        if method is not None:
            method(value)


@dataclass(slots=True, kw_only=True)
class Running:
    """The work of one background thread."""

    plan: Plan
    cache_file: Path | None
    bootstrap_file: Path | None
    held: Held
    publish: Weakly[Publication]
    began: Weakly[Core | None]
    broke: Weakly[str]

    async def __call__(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                core = Core(self.plan, self._world(), held=self.held, publish=self._published)
                self.began(core)
                await core.run()
            except Exception as error:  # noqa: BLE001 - an error of ours ends this core, not the client
                _log.exception("the client has met an error of its own")
                self.began(None)
                self.broke(f"internal error: {type(error).__name__}")
            await trio.sleep(RESTART_S)

    def _published(self, publication: Publication) -> None:
        self.held = publication.held
        self.publish(publication)

    def _world(self) -> World:
        options = self.plan.options
        cache, bootstrap = (
            None
            if path is None
            else DiskFile(path, bytes_max=options.set_bytes_max + SNAPSHOT_HEAD_BYTES_MAX)
            for path in (self.cache_file, self.bootstrap_file)
        )
        return World(
            transport=HttpTransport(
                connect_timeout_s=options.connect_timeout_s,
                tls=options.tls,
                proxy_from_environment=options.proxy_from_environment,
            ),
            clock=SystemClock(),
            rng=new_rng(),
            cache=cache,
            bootstrap=bootstrap,
        )
