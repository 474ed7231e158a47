"""Programs that use the SDK as services do, for tests that look at them from outside: ``python -m … NAME URL FILE``.

Each prints one JSON line a step. They are programs of their own because they fork, and because what is tested is how
they end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.e2e.sdk_server import KEY
from vexil.sdk import Client
from vexil.sdk.client import Options

WITHIN_S = 20.0
OPTIONS = Options(proxy_from_environment=False, back_off_base_s=0.1)


def say(**what: Any) -> None:
    # One write a line: parent and children share the pipe.
    os.write(1, json.dumps({"pid": os.getpid(), **what}).encode() + b"\n")


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + WITHIN_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def child(client: Client, name: str) -> None:
    say(step="first", who=name, value=client.boolean("a", False))
    ready = client.wait_ready(WITHIN_S)
    say(step="ready", who=name, ready=ready, healthy=client.status.healthy)
    say(step="changed", who=name, value=until(lambda: client.boolean("b", False)))


def fork(url: str, file: str) -> None:
    """A pre-fork server: the client is made in the parent, and used there and in children and a grandchild."""
    told: list[int] = []
    client = Client(url, KEY, cache_file=file, options=OPTIONS)
    client.on_change(lambda keys: told.append(os.getpid()))
    client.wait_ready(WITHIN_S)
    say(step="parent", value=client.boolean("a", False))
    # Threads that are busy with the client while the process forks.
    stop = threading.Event()
    busy = [
        threading.Thread(target=lambda: [client.status for _ in iter(stop.is_set, True)]) for _ in range(2)
    ]
    for thread in busy:
        thread.start()
    children = []
    for name in ("one", "two"):
        pid = os.fork()
        if not pid:
            signal.alarm(60)
            if name == "two" and not os.fork():
                child(client, "grandchild")
                sys.exit(0)
            child(client, name)
            say(step="told", who=name, told=until(lambda: os.getpid() in told))
            if name == "two":
                os.wait()
            sys.exit(0)
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    stop.set()
    for thread in busy:
        thread.join()
    say(
        step="end",
        codes=codes,
        value=until(lambda: client.boolean("c", False)),
        healthy=client.status.healthy,
    )
    client.close()


def leave(url: str, file: str) -> None:
    """Ends without closing anything, with threads and a callback that are busy."""
    client = Client(url, KEY, cache_file=file, options=OPTIONS)
    client.on_status(lambda status: time.sleep(3600))
    client.wait_ready(WITHIN_S)

    def ask() -> None:
        while True:
            client.boolean("a", False)

    threading.Thread(target=ask, daemon=True).start()
    say(step="leaving", value=client.boolean("a", False))


def fail(url: str, file: str) -> None:
    """Ends by an exception of its own."""
    Client(url, KEY, cache_file=file, options=OPTIONS).wait_ready(WITHIN_S)
    raise SystemExit(3)


if __name__ == "__main__":
    {"fork": fork, "leave": leave, "fail": fail}[sys.argv[1]](sys.argv[2], sys.argv[3])
