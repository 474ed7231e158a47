"""The container: what it keeps, what it makes again, what it costs."""

from __future__ import annotations

import tracemalloc

from tests.unit.sdk.documents import ask, flag
from vexil.sdk import FlagSet

FLAGS = 100_000
BYTES_PER_FLAG_MAX = 200
"""Of the container; documents are their owner's."""


def test_a_replaced_flag_answers_at_once() -> None:
    flag_set = FlagSet(flags={"f": flag(targeting={"if": [True, "off"]})})
    assert ask(flag_set, "f").variant == "off"
    flag_set.replace_flag("f", flag(targeting={"if": [True, "on"]}))
    assert ask(flag_set, "f").variant == "on"
    flag_set.replace_flag("f", None)
    flag_set.replace_flag("f", None)
    assert ask(flag_set, "f").error_code == "FLAG_NOT_FOUND"


def test_views_cannot_be_written_and_show_changes() -> None:
    flag_set = FlagSet(metadata={"a": 1})
    flags = flag_set.flags
    flag_set.replace_flag("f", flag())
    flag_set.set_metadata({"b": 2})
    assert list(flags) == ["f"]
    assert dict(flag_set.metadata) == {"b": 2}
    assert not hasattr(flags, "__setitem__")


def test_an_unknown_bucketing_is_an_error_where_a_rule_runs_and_nowhere_else() -> None:
    flag_set = FlagSet(flags={"f": flag(), "g": flag(targeting={"fractional": [["on", 1]]})}, bucketing="v9")
    assert ask(flag_set, "f").variant == "on"
    assert ask(flag_set, "g", {"targetingKey": "u"}).error_code == "GENERAL"


def test_a_hundred_thousand_flags_take_little_beside_their_documents() -> None:
    document = flag(targeting={"if": [True, "on"]})
    documents = {f"flag-{n}": document for n in range(FLAGS)}
    tracemalloc.start()
    try:
        flag_set = FlagSet(flags=documents)
        bytes_used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(flag_set.flags) == FLAGS
    assert bytes_used < FLAGS * BYTES_PER_FLAG_MAX
