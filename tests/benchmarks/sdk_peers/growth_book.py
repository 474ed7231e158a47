"""GrowthBook's SDK: features given in code; one object, whose attributes are set once a user."""

from __future__ import annotations

import re
from typing import Any

from growthbook import GrowthBook

from tests.benchmarks.sdk_peers.measuring import Measured, serve
from tests.benchmarks.sdk_peers.workload import SHAPES, Rules, User, flag_keys, rules_of


def conditions_of(rules: Rules) -> list[dict[str, Any]]:
    return [
        {"plan": rules.plan},
        {"country": {"$in": list(rules.countries)}},
        {"age": {"$gte": rules.age_min}},
        {"id": rules.segment},
        {"email": {"$regex": f"{re.escape(rules.domain)}$"}},
    ]


def feature_of(key: str, shape: str) -> dict[str, Any]:
    if shape == "rules":
        rules = [{"condition": each, "force": True} for each in conditions_of(rules_of(key))]
        return {"defaultValue": False, "rules": rules}
    if shape == "split":
        return {"defaultValue": False, "rules": [{"force": True, "coverage": 0.5, "hashAttribute": "id"}]}
    return {"defaultValue": True}


def context_of(user: User) -> dict[str, Any]:
    return {"id": user.key, **user.attributes}


def make(size: int) -> Measured:
    features = {key: feature_of(key, shape) for shape in SHAPES for key in flag_keys(shape, size)}
    book = GrowthBook(features=features)
    set_attributes, value, is_on = book.set_attributes, book.get_feature_value, book.is_on

    def ask(key: str, context: dict[str, Any], default: bool) -> bool:
        set_attributes(context)
        found = bool(value(key, default))
        if found is not is_on(key):
            raise RuntimeError(f"{key}: {found}, but not on")
        return found

    def loop(keys: list[str], contexts: list[Any]) -> None:
        for attributes in contexts:
            set_attributes(attributes)
            for key in keys:
                is_on(key)

    return Measured(package="growthbook", context_of=context_of, ask=ask, loop=loop)


if __name__ == "__main__":
    serve(make)
