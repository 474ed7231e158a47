"""Processes that work for a campaign, seen from the campaign: so many at a time, each call with a bound of wall time.

The one idea: a call has an answer or is `Lost`, and says why; nothing that a process does can take a call with it
unnoticed. Processes are in sessions of their own, so a Ctrl-C at the terminal is the campaign's to handle.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Final, Self, TypeVar

import msgspec
import trio

from vexil.chaos.campaign.worker import Answer, Call

CALLS_PER_PROCESS_MAX: Final = 200
"""What a process leaks ends with it."""
READ_BYTES: Final = 1 << 16
ERRORS_SHOWN_BYTES: Final = 2_000
"""Of what a process that died has said."""
HASH_SEED: Final = "1"
"""``PYTHONHASHSEED`` of every process that nobody wants to be different."""
END_LIMIT_S: Final = 10.0
"""A killed process is waited for so long."""

T = TypeVar("T")


class Lost(Exception):
    """A call that has no answer: its process hung or died, or it raised; the first line says which, others say more."""


class Worker:
    """One process. After anything else than an answer it must be ended."""

    def __init__(self, process: trio.Process, errors: IO[bytes]) -> None:
        """Use `start`."""
        self.calls = 0
        self._process = process
        self._errors = errors
        self._read = bytearray()

    @classmethod
    async def start(cls, *, hash_seed: str = HASH_SEED, path: Sequence[str] = ()) -> Self:
        """A new process that finds modules where this one does, and in ``path``."""
        # Appended to, so that it can be cut while the process goes on writing.
        errors = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - closed by `end`
        environment = {
            **os.environ,
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": os.pathsep.join(filter(None, (*sys.path, *path))),
        }
        try:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "vexil.chaos.campaign.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                env=environment,
            )
        except BaseException:  # cancelled, too
            errors.close()
            raise
        return cls(process, errors)

    async def call(self, task: str, arguments: Mapping[str, Any], *, limit_s: float, kind: type[T]) -> T:
        """The result of ``task``, as a ``kind``. Raises Lost."""
        self.calls += 1
        line = msgspec.json.encode(Call(task, limit_s, dict(arguments))) + b"\n"
        with trio.move_on_after(limit_s):
            try:
                assert self._process.stdin is not None
                await self._process.stdin.send_all(line)
                answer = msgspec.json.decode(await self._line(), type=Answer)
            except (trio.BrokenResourceError, trio.EndOfChannel):
                raise Lost(await self._obituary()) from None
            if answer.raised:
                raise Lost(_told("it raised", answer.raised))
            self._errors.truncate(0)
            return msgspec.json.decode(answer.result, type=kind)
        raise Lost(f"no end within {limit_s:g} s of wall time")

    async def end(self) -> None:
        """Kill it, and return when it is gone."""
        with trio.move_on_after(END_LIMIT_S, shield=True):
            self._process.kill()
            await self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                assert stream is not None
                await stream.aclose()
        self._errors.close()

    async def _line(self) -> bytes:
        assert self._process.stdout is not None
        while not self._read.endswith(b"\n"):
            some = await self._process.stdout.receive_some(READ_BYTES)
            if not some:
                raise trio.EndOfChannel
            self._read += some
        line, self._read = bytes(self._read), bytearray()
        return line

    async def _obituary(self) -> str:
        code = await self._process.wait()
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - ERRORS_SHOWN_BYTES))
        said = self._errors.read().decode(errors="replace")
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return _told(f"its process died ({how})", said)


class WorkerPool:
    """At most ``jobs`` processes at a time; an async context manager, at whose end none is left."""

    def __init__(self, jobs: int, *, path: Sequence[str] = ()) -> None:
        """Processes are started when they are needed; they find modules in ``path`` too."""
        self.jobs = jobs
        self._path = path
        self._places = trio.CapacityLimiter(jobs)
        self._idle: list[Worker] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._idle:
            await worker.end()

    async def call(
        self,
        task: str,
        arguments: Mapping[str, Any],
        *,
        limit_s: float,
        kind: type[T],
        hash_seed: str = HASH_SEED,
    ) -> T:
        """The result of ``task`` in one of the processes; with another ``hash_seed``, in a fresh one. Raises Lost."""
        async with self._places:
            fresh = hash_seed != HASH_SEED
            worker = (
                self._idle.pop()
                if self._idle and not fresh
                else await Worker.start(hash_seed=hash_seed, path=self._path)
            )
            usable = False
            try:
                result = await worker.call(task, arguments, limit_s=limit_s, kind=kind)
                usable = not fresh and worker.calls < CALLS_PER_PROCESS_MAX
            finally:
                if usable:
                    self._idle.append(worker)
                else:
                    await worker.end()
            return result


def _told(what: str, details: str) -> str:
    """The last line of ``details`` says the most; all of them are below."""
    details = details.strip()
    last = details.rpartition("\n")[2]
    return "\n".join(filter(None, (f"{what}: {last}" if last else what, details if details != last else "")))
