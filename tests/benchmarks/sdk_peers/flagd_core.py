"""flagd's evaluation in Python, without OpenFeature's client around it."""

from __future__ import annotations

from typing import Any

from openfeature.contrib.tools.flagd.core import FlagdCore

from tests.benchmarks.sdk_peers.flagd_flags import document_with
from tests.benchmarks.sdk_peers.measuring import Measured, serve
from tests.benchmarks.sdk_peers.openfeature_context import context_of


def make(size: int) -> Measured:
    core = FlagdCore()
    core.set_flags(document_with(size))
    boolean = core.resolve_boolean_value

    def loop(keys: list[str], contexts: list[Any]) -> None:
        for context in contexts:
            for key in keys:
                boolean(key, False, context)

    return Measured(
        package="openfeature-flagd-core",
        context_of=context_of,
        ask=lambda key, context, default: boolean(key, default, context).value,
        loop=loop,
    )


if __name__ == "__main__":
    serve(make)
