"""What the measured things behind OpenFeature's API share: its context, its client, its loop."""

from __future__ import annotations

from typing import Any

from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.provider import FeatureProvider

from tests.benchmarks.sdk_peers.measuring import Measured
from tests.benchmarks.sdk_peers.workload import User


def context_of(user: User) -> EvaluationContext:
    """A user as callers of OpenFeature have one."""
    return EvaluationContext(targeting_key=user.key, attributes=dict(user.attributes))


def through_openfeature(provider: FeatureProvider, *, package: str) -> Measured:
    """OpenFeature's client over ``provider``, asked for a value."""
    api.set_provider_and_wait(provider)
    boolean = api.get_client().get_boolean_value

    def loop(keys: list[str], contexts: list[Any]) -> None:
        for context in contexts:
            for key in keys:
                boolean(key, False, context)

    return Measured(
        package=package,
        context_of=context_of,
        ask=lambda key, context, default: boolean(key, default, context),
        loop=loop,
    )
