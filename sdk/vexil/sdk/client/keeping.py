"""The files of a client: what it starts from when nobody answers, and what it leaves for the next start.

The one idea: a file is never a reason to fail. One that cannot be read or written is said in the status, and the
client goes on without it.
"""

from __future__ import annotations

import random

import trio

from vexil.sdk.client.back_off import around_s
from vexil.sdk.client.options import Options
from vexil.sdk.client.seams import Disk
from vexil.sdk.client.snapshot import decode, decode_bootstrap, encode
from vexil.sdk.client.state import Held, State

_SETTLE_S = 1.0
"""A change is seldom alone: so long is waited for the next before the first snapshot is written."""
_LAST_WRITE_S = 2.0
"""What closing waits for the last snapshot."""


class Keeping:
    """Loads ``cache`` or ``bootstrap`` into ``state``, and keeps ``cache`` up to date."""

    def __init__(
        self,
        *,
        cache: Disk | None,
        bootstrap: Disk | None,
        key: str,
        state: State,
        rng: random.Random,
        options: Options,
    ) -> None:
        self._cache = cache
        self._bootstrap = bootstrap
        self._key = key
        self._state = state
        self._rng = rng
        self._options = options
        self._written: Held | None = None
        self._write_error: str | None = None

    async def load(self) -> None:
        """The snapshot, else the bootstrap file, if either can be used. Takes ``disk_timeout_s`` each at most."""
        errors = []
        for disk, what, read in (
            (self._cache, "snapshot", decode),
            (self._bootstrap, "bootstrap file", decode_bootstrap),
        ):
            if disk is None:
                continue
            error = "it cannot be read in time"
            with trio.move_on_after(self._options.disk_timeout_s):
                try:
                    data = await disk.read()
                    if data is not None:
                        self._state.load(read(data, key=self._key))
                        self._written = self._state.held if disk is self._cache else None
                        break
                    error = "there is no such file" if disk is self._bootstrap else ""
                except Exception as problem:  # noqa: BLE001 - also what nobody foresaw in a file
                    error = str(problem) or type(problem).__name__
            if error:
                errors.append(f"the {what} is not used: {error}")
        if errors:
            self._state.blame_file("; ".join(errors))

    async def run(self) -> None:
        """Until it is cancelled; a snapshot that is due is written then too, within a bound."""
        if self._cache is None:
            return
        pause_s = self._rng.uniform(0.0, _SETTLE_S)
        try:
            while True:
                while not self._due():
                    await self._state.changed.wait()
                await trio.sleep(pause_s)
                await self._write(self._cache)
                pause_s = around_s(self._rng, self._options.snapshot_every_s)
        finally:
            if self._due():
                with trio.move_on_after(_LAST_WRITE_S, shield=True):
                    await self._write(self._cache)

    def _due(self) -> bool:
        held, written = self._state.held, self._written
        if held.source != "node":
            return False
        if written is None or held.flag_set is not written.flag_set:
            return True
        since_s = (held.confirmed_at_s or 0.0) - (written.confirmed_at_s or 0.0)
        return not 0.0 <= since_s < self._options.snapshot_refresh_s

    async def _write(self, cache: Disk) -> None:
        held = self._state.held
        error = "it takes too long"
        with trio.move_on_after(self._options.disk_timeout_s):
            try:
                data = await encode(held, key=self._key)
                await cache.write(data)
                self._written, error = held, ""
            except Exception as problem:  # noqa: BLE001 - as in `load`: the client goes on without a file
                error = str(problem) or type(problem).__name__
        self._state.blame_file(f"the snapshot cannot be written: {error}" if error else None)
