"""Processes of nodes: starting one, finding out which one holds a folder, and ending them.

The one idea: the folder lock decides who a node is. Its text names the process, and the kernel says whether it is
held; a process id by itself is never trusted, because the system gives it to somebody else one day.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vexil.node.adapters.folder_lock import LOCK_FILE, LOCK_TEXT_BYTES_MAX
from vexil.node.config import ENVIRONMENT_PREFIX, SECRET_VARIABLE
from vexil.node.dev.folder import MANAGED_KEYS, config_path, log_path

BOOTSTRAP_VARIABLE = "VEXIL_BOOTSTRAP_KEY"
LOG_BYTES_MAX = 16 * 1024 * 1024
"""A longer log is set aside as node.log.1 when the node starts."""
LOG_TAIL_BYTES = 4096
LOG_TAIL_LINES = 8
STOP_POLL_S = 0.05
SETTLE_S = 2.0

Command = Callable[[Path], Sequence[str]]
"""The command line that runs the node of a configuration."""


def node_command(config: Path) -> Sequence[str]:
    """How a node is started."""
    return [sys.executable, "-m", "vexil.node", "--config", str(config)]


def start_node(
    data: Path, name: str, *, owner_key: str, command: Command = node_command
) -> subprocess.Popen[bytes]:
    """Start the node in a session of its own, its output appended to its log.

    A Ctrl-C at the terminal reaches the supervisor only. What the environment says about single nodes (their names,
    ports) is not handed down: it would be said to all of them.
    """
    log = log_path(data, name)
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_name(f"{log.name}.1"))
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command(config_path(data, name).resolve())),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=child_environment(os.environ, owner_key=owner_key),
        )


def child_environment(environment: Mapping[str, str], *, owner_key: str) -> dict[str, str]:
    """What a node inherits: everything but what its node.toml says, and the key to begin with."""
    managed = {SECRET_VARIABLE, *(ENVIRONMENT_PREFIX + key.upper() for key in MANAGED_KEYS)}
    return {
        **{name: value for name, value in environment.items() if name not in managed},
        BOOTSTRAP_VARIABLE: owner_key,
    }


def holder(folder: Path) -> int | None:
    """The process that holds the lock of ``folder``; None when nobody does.

    The lock itself is only tried when the process that the file names is alive, and shared at that, so that looking
    never gets in the way of a node that is just starting.
    """
    try:
        with (folder / LOCK_FILE).open("rb") as file:
            first = file.read(LOCK_TEXT_BYTES_MAX).split(b"\n")[0]
            pid = int(first) if first.isdigit() else 0
            if not pid or not is_alive(pid):
                return None
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return pid
            return None
    except FileNotFoundError:
        return None


def is_alive(pid: int) -> bool:
    """Whether there is a process of this id, ours or not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def ending(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def log_tail(data: Path, name: str) -> list[str]:
    """The last lines of a node's log."""
    try:
        with log_path(data, name).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    except FileNotFoundError:
        return []


def stop_all(
    children: Mapping[str, subprocess.Popen[bytes]], folders: Mapping[str, Path], *, grace_s: float
) -> list[str]:
    """Ask every node to end, wait ``grace_s`` for all of them together, then end the rest by force.

    ``children`` are our own processes; a node of ``folders`` that somebody else started is found by its lock.
    Returns the names of those that had to be forced. All are gone on return.
    """

    def running() -> dict[str, int]:
        ours = {name: child.pid for name, child in children.items() if child.poll() is None}
        others = {name: holder(folder) for name, folder in folders.items() if name not in ours}
        return ours | {name: pid for name, pid in others.items() if pid is not None}

    asked: set[int] = set()
    deadline = time.monotonic() + grace_s
    while (left := running()) and time.monotonic() < deadline:
        for pid in left.values():
            if pid not in asked:
                _signal(pid, signal.SIGTERM)
                asked.add(pid)
        time.sleep(STOP_POLL_S)
    forced = running()
    for pid in forced.values():
        _signal(pid, signal.SIGKILL)
    while running():
        time.sleep(STOP_POLL_S)
    # One that is not our child has let go of its folder by now, and has a moment left of its own end. Bounded: where
    # nobody collects orphans their process ids stay.
    deadline = time.monotonic() + SETTLE_S
    while any(is_alive(pid) for pid in asked) and time.monotonic() < deadline:
        time.sleep(STOP_POLL_S)
    return sorted(forced)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
