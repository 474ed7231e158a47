"""The loop that every measured thing has around its calls, calling nothing."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.sdk_peers.measuring import Measured, serve


def make(size: int) -> Measured:
    def loop(keys: list[str], contexts: list[Any]) -> None:
        for _context in contexts:
            for _key in keys:
                pass

    return Measured(package="", context_of=lambda user: user, ask=lambda *_: False, loop=loop, checked=False)


if __name__ == "__main__":
    serve(make)
