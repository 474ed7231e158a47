"""``client.boolean``, offline."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.sdk_peers.measuring import Measured, serve
from tests.benchmarks.sdk_peers.vexil_client import client_with
from tests.benchmarks.sdk_peers.vexil_flags import context_of, unknown_keys


def make(size: int) -> Measured:
    boolean = client_with(size).boolean

    def loop(keys: list[str], contexts: list[Any]) -> None:
        for context in contexts:
            for key in keys:
                boolean(key, False, context)

    return Measured(
        package="vexil",
        context_of=context_of,
        ask=lambda key, context, default: boolean(key, default, context),
        loop=loop,
        more={"unknown": unknown_keys},
    )


if __name__ == "__main__":
    serve(make)
