"""The functions that our flags become, called without a client: what no client can be faster than."""

from __future__ import annotations

import time
from typing import Any

from tests.benchmarks.sdk_peers.measuring import Measured, serve
from tests.benchmarks.sdk_peers.vexil_flags import context_of, document_with
from vexil.sdk.documents import flag_set_from


def make(size: int) -> Measured:
    flag_set = flag_set_from(document_with(size))
    functions, now = flag_set.functions, time.time

    def ask(key: str, context: dict[str, Any], default: bool) -> bool:
        return functions[key](context, now).value is True

    def loop(keys: list[str], contexts: list[Any]) -> None:
        looked_up = [functions[key] for key in keys]
        for context in contexts:
            for function in looked_up:
                function(context, now)

    return Measured(package="vexil", context_of=context_of, ask=ask, loop=loop)


if __name__ == "__main__":
    serve(make)
