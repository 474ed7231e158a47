"""Eppo's SDK, whose evaluation is in Rust: configuration given at the start, no polling, no assignment logs."""

from __future__ import annotations

import json
import re
from typing import Any

import eppo_client

from tests.benchmarks.sdk_peers.measuring import Measured, serve
from tests.benchmarks.sdk_peers.workload import SHAPES, Rules, User, flag_keys, rules_of

SHARDS = 10_000
VARIATIONS = {name: {"key": name, "value": name == "on"} for name in ("on", "off")}


def conditions_of(rules: Rules) -> list[dict[str, Any]]:
    return [
        {"attribute": "plan", "operator": "ONE_OF", "value": [rules.plan]},
        {"attribute": "country", "operator": "ONE_OF", "value": list(rules.countries)},
        {"attribute": "age", "operator": "GTE", "value": rules.age_min},
        {"attribute": "id", "operator": "ONE_OF", "value": [rules.segment]},
        {"attribute": "email", "operator": "MATCHES", "value": f"{re.escape(rules.domain)}$"},
    ]


def flag_of(key: str, shape: str) -> dict[str, Any]:
    allocations = [allocation("all", [{"variationKey": "on", "shards": []}])]
    if shape == "rules":
        serve_on = [{"variationKey": "on", "shards": []}]
        conditions = conditions_of(rules_of(key))
        allocations = [allocation(f"r{n}", serve_on, each) for n, each in enumerate(conditions)]
        allocations.append(allocation("rest", [{"variationKey": "off", "shards": []}]))
    if shape == "split":
        halves = {"on": (0, SHARDS // 2), "off": (SHARDS // 2, SHARDS)}
        splits = [
            {
                "variationKey": name,
                "shards": [{"salt": key, "ranges": [{"start": start, "end": end}]}],
            }
            for name, (start, end) in halves.items()
        ]
        allocations = [allocation("half", splits)]
    return {
        "key": key,
        "enabled": True,
        "variationType": "BOOLEAN",
        "variations": VARIATIONS,
        "allocations": allocations,
        "totalShards": SHARDS,
    }


def allocation(key: str, splits: list[Any], condition: Any = None) -> dict[str, Any]:
    rules = {} if condition is None else {"rules": [{"conditions": [condition]}]}
    return {"key": key, "splits": splits, "doLog": False, **rules}


def client_with(size: int) -> Any:
    """Eppo's client with a set of ``size`` flags."""
    flags = {key: flag_of(key, shape) for shape in SHAPES for key in flag_keys(shape, size)}
    document = {
        "createdAt": "2026-01-01T00:00:00Z",
        "format": "SERVER",
        "environment": {"name": "prod"},
        "flags": flags,
    }
    config = eppo_client.ClientConfig(
        api_key="none",
        assignment_logger=eppo_client.AssignmentLogger(),
        poll_interval_seconds=None,
        initial_configuration=eppo_client.Configuration(flags_configuration=json.dumps(document).encode()),
    )
    return eppo_client.init(config)


def context_of(user: User) -> tuple[str, dict[str, Any]]:
    return user.key, user.attributes


def make(size: int) -> Measured:
    boolean = client_with(size).get_boolean_assignment

    def loop(keys: list[str], contexts: list[Any]) -> None:
        for user, attributes in contexts:
            for key in keys:
                boolean(key, user, attributes, False)

    return Measured(
        package="eppo-server-sdk",
        context_of=context_of,
        ask=lambda key, context, default: boolean(key, *context, default),
        loop=loop,
    )


if __name__ == "__main__":
    serve(make)
