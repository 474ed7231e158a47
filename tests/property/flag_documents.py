"""Hypothesis strategies: JSON of every kind, rules that mean something, contexts that they look at."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

TEXTS = st.text(max_size=6) | st.sampled_from(
    ["on", "off", "true", "1", "1.2.3", "v2", "targetingKey", "\ud800"]
)
NUMBERS = (
    st.integers(-5, 120)
    | st.integers()
    | st.floats()
    | st.sampled_from([10**400, -(2**63), 2**64, 1e308, 1e999])
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)

OPERATORS = [
    "if",
    "?:",
    "and",
    "or",
    "!",
    "!!",
    "==",
    "!=",
    "===",
    "!==",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "min",
    "max",
    "in",
    "cat",
    "substr",
    "merge",
    "var",
    "missing",
    "missing_some",
    "map",
    "filter",
    "reduce",
    "all",
    "some",
    "none",
    "log",
    "fractional",
    "sem_ver",
    "starts_with",
    "ends_with",
    "segment",
    "in_segment",
    "$ref",
    "nonsense",
]
PATHS = (
    "x",
    "y",
    "x.y",
    "",
    "targetingKey",
    "$flagd",
    "$flagd.flagKey",
    "accumulator",
    "current",
    "list",
    "list.0",
)


def rules(
    leaves: st.SearchStrategy[Any] = SCALARS, operators: list[str] = OPERATORS
) -> st.SearchStrategy[Any]:
    """JsonLogic: operators over variables, constants and each other, with any number of arguments."""
    variables = st.sampled_from(PATHS).map(lambda path: {"var": path})
    return st.recursive(
        leaves | variables,
        lambda inner: (
            st.builds(
                lambda name, arguments: {name: arguments},
                st.sampled_from(operators),
                st.lists(inner, max_size=4),
            )
            | st.lists(inner, max_size=3)
        ),
        max_leaves=25,
    )


CONTEXTS = st.dictionaries(
    st.sampled_from(["x", "y", "list", "targetingKey", "$flagd"]) | TEXTS, ANY_JSON, max_size=5
)
VARIANT_NAMES = st.sampled_from(["on", "off", "true", "1"])
