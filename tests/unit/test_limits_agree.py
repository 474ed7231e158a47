"""The readers and the replicas must not import each other: where both name a limit, it is the same."""

from __future__ import annotations

import vexil.crdt.limits
import vexil.sdk.limits


def limits_of(module: object) -> dict[str, object]:
    return {name: value for name, value in vars(module).items() if name.endswith("_MAX")}


def test_a_limit_that_both_sides_name_is_the_same() -> None:
    crdt, sdk = limits_of(vexil.crdt.limits), limits_of(vexil.sdk.limits)
    both = crdt.keys() & sdk.keys()
    assert both >= {"FLAG_KEY_BYTES_MAX", "FLAG_BYTES_MAX", "LOGIC_DEPTH_MAX"}
    assert {name: crdt[name] for name in both} == {name: sdk[name] for name in both}
