"""``client.boolean_details``, offline."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.sdk_peers.measuring import Measured, serve
from tests.benchmarks.sdk_peers.vexil_client import client_with
from tests.benchmarks.sdk_peers.vexil_flags import context_of, unknown_keys


def make(size: int) -> Measured:
    details = client_with(size).boolean_details

    def ask(key: str, context: dict[str, Any], default: bool) -> bool:
        found = details(key, default, context)
        if found.error_code is not None or found.variant not in {"on", "off"}:
            raise RuntimeError(f"{key}: {found}")
        return found.value is True

    def loop(keys: list[str], contexts: list[Any]) -> None:
        for context in contexts:
            for key in keys:
                details(key, False, context)

    return Measured(
        package="vexil", context_of=context_of, ask=ask, loop=loop, more={"unknown": unknown_keys}
    )


if __name__ == "__main__":
    serve(make)
