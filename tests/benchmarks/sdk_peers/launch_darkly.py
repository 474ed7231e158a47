"""LaunchDarkly's server SDK: flags from a file, no events."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from ldclient.client import LDClient
from ldclient.config import Config
from ldclient.context import Context
from ldclient.integrations import Files

from tests.benchmarks.sdk_peers.measuring import Measured, serve
from tests.benchmarks.sdk_peers.workload import SHAPES, Rules, User, flag_keys, rules_of

ON, OFF = 0, 1
"""Indices of the variations."""
READY_S = 60
WHOLE = 100_000
"""What the weights of a rollout add up to."""


def clauses_of(rules: Rules) -> list[dict[str, Any]]:
    return [
        {"attribute": "plan", "op": "in", "values": [rules.plan]},
        {"attribute": "country", "op": "in", "values": list(rules.countries)},
        {"attribute": "age", "op": "greaterThanOrEqual", "values": [rules.age_min]},
        {"attribute": "key", "op": "in", "values": [rules.segment]},
        {"attribute": "email", "op": "endsWith", "values": [rules.domain]},
    ]


def flag_of(key: str, shape: str) -> dict[str, Any]:
    fallthrough: dict[str, Any] = {"variation": OFF if shape == "rules" else ON}
    rules: list[dict[str, Any]] = []
    if shape == "rules":
        clauses = clauses_of(rules_of(key))
        rules = [{"id": f"r{n}", "clauses": [each], "variation": ON} for n, each in enumerate(clauses)]
    if shape == "split":
        halves = [{"variation": each, "weight": WHOLE // 2} for each in (ON, OFF)]
        fallthrough = {"rollout": {"variations": halves}}
    return {
        "key": key,
        "version": 1,
        "on": True,
        "variations": [True, False],
        "offVariation": OFF,
        "fallthrough": fallthrough,
        "rules": rules,
        "salt": key,
    }


def client_with(size: int) -> Any:
    """LaunchDarkly's client with a set of ``size`` flags. Raises RuntimeError if it does not get it."""
    flags = {key: flag_of(key, shape) for shape in SHAPES for key in flag_keys(shape, size)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "flags.json"
        file.write_text(json.dumps({"flags": flags}), encoding="utf-8")
        config = Config(
            "none",
            update_processor_class=Files.new_data_source(paths=[str(file)]),
            send_events=False,
            diagnostic_opt_out=True,
        )
        client = LDClient(config, start_wait=READY_S)
    if not client.is_initialized():
        raise RuntimeError("LaunchDarkly's client has not started")
    return client


def context_of(user: User) -> Any:
    builder = Context.builder(user.key)
    for name, value in user.attributes.items():
        builder.set(name, value)
    return builder.build()


def make(size: int) -> Measured:
    variation = client_with(size).variation

    def loop(keys: list[str], contexts: list[Any]) -> None:
        for context in contexts:
            for key in keys:
                variation(key, context, False)

    return Measured(
        package="launchdarkly-server-sdk",
        context_of=context_of,
        ask=variation,
        loop=loop,
    )


if __name__ == "__main__":
    serve(make)
