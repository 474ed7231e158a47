"""Statsig's SDK on its Rust core: specifications from a store in memory, no network, no logging of exposures."""

from __future__ import annotations

import json
from typing import Any

from statsig_python_core import (
    DataStore,
    FeatureGateEvaluationOptions,
    Statsig,
    StatsigOptions,
    StatsigUser,
)
from statsig_python_core.data_store import DataStoreResponse

from tests.benchmarks.sdk_peers.measuring import Measured, serve
from tests.benchmarks.sdk_peers.workload import SHAPES, Rules, User, flag_keys, rules_of

TIME = 1_700_000_000_000
"""When the specifications were made."""


class Store(DataStore):  # type: ignore[misc]  # the package's types are not there for the checker
    """Has one document, and says that polling it is of no use."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self._document = document

    def get(self, key: str) -> DataStoreResponse:
        return DataStoreResponse(result=self._document, time=TIME)


def conditions_of(rules: Rules) -> list[dict[str, Any]]:
    return [
        condition("user_field", "any", "plan", [rules.plan]),
        condition("user_field", "any", "country", list(rules.countries)),
        condition("user_field", "gte", "age", rules.age_min),
        condition("unit_id", "any", None, [rules.segment]),
        condition("user_field", "str_ends_with_any", "email", [rules.domain]),
    ]


def condition(kind: str, operator: str | None, field: str | None, value: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "operator": operator,
        "field": field,
        "targetValue": value,
        "additionalValues": {},
        "idType": "userID",
    }


def document_with(size: int) -> str:
    """The specifications of ``size`` gates."""
    conditions: dict[str, Any] = {"everybody": condition("public", None, None, None)}
    gates = {}
    for shape in SHAPES:
        for key in flag_keys(shape, size):
            names = ["everybody"]
            if shape == "rules":
                made = {f"{key}-{n}": each for n, each in enumerate(conditions_of(rules_of(key)))}
                conditions.update(made)
                names = list(made)
            gates[key] = gate(key, names, 50 if shape == "split" else 100)
    return json.dumps(
        {
            "feature_gates": gates,
            "dynamic_configs": {},
            "layer_configs": {},
            "condition_map": conditions,
            "experiment_to_layer": {},
            "has_updates": True,
            "time": TIME,
        }
    )


def gate(key: str, names: list[str], percentage: int) -> dict[str, Any]:
    rules = [
        {
            "name": name,
            "id": name,
            "salt": name,
            "passPercentage": percentage,
            "conditions": [name],
            "returnValue": True,
            "idType": "userID",
        }
        for name in names
    ]
    return {
        "type": "feature_gate",
        "salt": key,
        "enabled": True,
        "defaultValue": False,
        "rules": rules,
        "idType": "userID",
        "entity": "feature_gate",
    }


def client_with(size: int) -> Any:
    """Statsig's client with a set of ``size`` gates."""
    options = StatsigOptions(
        data_store=Store(document_with(size)),
        disable_network=True,
        disable_all_logging=True,
        disable_country_lookup=True,
        disable_disk_access=True,
        output_log_level="none",
    )
    statsig = Statsig("secret-none", options)
    statsig.initialize().wait()
    return statsig


def context_of(user: User) -> Any:
    return StatsigUser(
        user_id=user.key, email=user.email, country=user.country, custom={"plan": user.plan, "age": user.age}
    )


def make(size: int) -> Measured:
    check_gate = client_with(size).check_gate
    unlogged = FeatureGateEvaluationOptions(disable_exposure_logging=True)

    def loop(keys: list[str], contexts: list[Any]) -> None:
        for user in contexts:
            for key in keys:
                check_gate(user, key, unlogged)

    return Measured(
        package="statsig-python-core",
        context_of=context_of,
        ask=lambda key, context, default: check_gate(context, key, unlogged),  # a gate has no default
        loop=loop,
    )


if __name__ == "__main__":
    serve(make)
