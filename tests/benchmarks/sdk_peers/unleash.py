"""Unleash's client on its Rust engine, yggdrasil: toggles from a bootstrap, no polling, metrics or registration."""

from __future__ import annotations

import logging
import tempfile
from typing import Any

from UnleashClient import UnleashClient
from UnleashClient.cache import FileCache

from tests.benchmarks.sdk_peers.measuring import Measured, serve
from tests.benchmarks.sdk_peers.workload import SHAPES, Rules, User, flag_keys, rules_of

DAY_S = 86_400
FOLDER = tempfile.TemporaryDirectory()  # as long as the process: the client keeps its cache there


def constraints_of(rules: Rules) -> list[dict[str, Any]]:
    return [
        {"contextName": "plan", "operator": "IN", "values": [rules.plan]},
        {"contextName": "country", "operator": "IN", "values": list(rules.countries)},
        # No operator says "at least", only "more than".
        {"contextName": "age", "operator": "NUM_GT", "value": str(rules.age_min - 1), "values": []},
        {"contextName": "userId", "operator": "IN", "values": [rules.segment]},
        {"contextName": "email", "operator": "STR_ENDS_WITH", "values": [rules.domain]},
    ]


def toggle_of(key: str, shape: str) -> dict[str, Any]:
    strategies: list[dict[str, Any]] = [{"name": "default", "parameters": {}, "constraints": []}]
    if shape == "rules":
        constraints = constraints_of(rules_of(key))
        strategies = [{"name": "default", "parameters": {}, "constraints": [each]} for each in constraints]
    if shape == "split":
        parameters = {"rollout": "50", "stickiness": "userId", "groupId": key}
        strategies = [{"name": "flexibleRollout", "parameters": parameters, "constraints": []}]
    return {"name": key, "type": "release", "enabled": True, "strategies": strategies, "variants": []}


def client_with(size: int) -> Any:
    """Unleash's client with a set of ``size`` toggles."""
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    toggles = [toggle_of(key, shape) for shape in SHAPES for key in flag_keys(shape, size)]
    cache = FileCache("bench", directory=FOLDER.name)
    cache.bootstrap_from_dict({"version": 2, "features": toggles})
    client = UnleashClient(
        url="http://127.0.0.1:9",
        app_name="bench",
        cache=cache,
        disable_metrics=True,
        disable_registration=True,
        refresh_interval=DAY_S,
    )
    client.initialize_client(fetch_toggles=False)
    return client


def context_of(user: User) -> dict[str, Any]:
    return {"userId": user.key, **user.attributes}


def make(size: int) -> Measured:
    is_enabled = client_with(size).is_enabled

    def loop(keys: list[str], contexts: list[Any]) -> None:
        for context in contexts:
            for key in keys:
                is_enabled(key, context)

    return Measured(
        package="UnleashClient",
        context_of=context_of,
        ask=lambda key, context, default: is_enabled(key, context, lambda *_: default),
        loop=loop,
    )


if __name__ == "__main__":
    serve(make)
