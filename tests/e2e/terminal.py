"""A ``vexil`` that runs in the background as in a terminal of its own: its lines, its signals, its end."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

VEXIL = (sys.executable, "-c", "from vexil.node.entry import main; raise SystemExit(main())")
"""The console script, also where the package is on the path without being installed."""
END_S = 40.0


class Terminal:
    """One long-running command in ``folder``; close it."""

    def __init__(self, *arguments: str, folder: Path, command: Sequence[str] = VEXIL) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A Ctrl-C at the terminal of the tests must leave the end of this process to the tests.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def until(self, wanted: Callable[[str], bool], *, after: int = 0, within_s: float = END_S) -> str:
        """The first wanted line of all that were printed after the first ``after`` ones."""
        deadline = time.monotonic() + within_s
        with self._changed:
            while True:
                for line in self.lines[after:]:
                    if wanted(line):
                        return line
                left_s = deadline - time.monotonic()
                if self._ended or left_s <= 0:
                    raise AssertionError("the line that was waited for is not in:\n" + "\n".join(self.lines))
                self._changed.wait(left_s)

    def wait(self) -> int:
        """Its exit code, when it has ended and every line has been read."""
        code = self.process.wait(END_S)
        self._reader.join(END_S)
        return code

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def close(self) -> None:
        """End it, by force if need be, and let go of its output."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
