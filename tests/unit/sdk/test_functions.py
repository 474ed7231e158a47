"""What flags become: one function each, made when it is asked for, with nothing of a rule in its source."""

from __future__ import annotations

import builtins
import gc
import threading  # noqa: TID251 - a flag is compiled in whichever thread asks first
import tracemalloc
from typing import Any

import pytest

from tests.unit.sdk.documents import ask, flag, needs, segment
from vexil.sdk import FlagSet
from vexil.sdk.answers import NOT_FOUND
from vexil.sdk.compiler import functions
from vexil.sdk.compiler.compiler import Compiler
from vexil.sdk.documents import flag_set_document, flag_set_from
from vexil.sdk.function_table import UNKNOWN
from vexil.sdk.limits import UNKNOWN_KEPT_MAX

FLAGS = 2_000
BYTES_PER_FLAG_MAX = 3 * 1024
"""Of a client's flag set with everything compiled, its documents included."""


def now() -> float:
    return 0


def five_rules(n: int) -> Any:
    conditions = [
        {"ends_with": [{"var": "email"}, f"@example-{n}.com"]},
        {"in": [{"var": "country"}, ["de", "fr", "it", "es", f"x{n}"]]},
        {"sem_ver": [{"var": "version"}, ">=", f"9.{n}.0"]},
        {"==": [{"var": "plan"}, f"gold-{n}"]},
        {"starts_with": [{"var": "id"}, "user-"]},
    ]
    rules = [{"id": f"r{at}", "if": rule, "serve": "off"} for at, rule in enumerate(conditions)]
    return flag(rules=rules)


def test_a_flag_is_compiled_when_it_is_first_asked_for_and_once() -> None:
    flag_set = FlagSet(flags={"f": flag(), "g": flag(targeting={"if": [{"var": "x"}, "off"]})})
    assert len(flag_set.functions) == 0
    function = flag_set.functions["g"]
    assert len(flag_set.functions) == 1
    assert flag_set.functions["g"] is function
    assert function({"x": 1}, now).variant == "off"
    assert function({}, now) is function({}, now)  # nothing is made when somebody asks


def test_an_unknown_flag_is_told_and_nothing_grows_without_end() -> None:
    flag_set = FlagSet(flags={"f": flag()})
    for n in range(3 * UNKNOWN_KEPT_MAX):
        assert flag_set.functions[f"nowhere-{n}"] is UNKNOWN
    assert UNKNOWN({}, now) is NOT_FOUND
    assert len(flag_set.functions) <= UNKNOWN_KEPT_MAX
    assert ask(flag_set, "f").variant == "on"
    assert ask(flag_set, "nowhere").key == "nowhere"


def test_long_keys_and_what_is_no_text_are_not_kept() -> None:
    flag_set = FlagSet(flags={"f": flag()})
    asked: tuple[Any, ...] = ("x" * 100_000, None, 7, b"f")
    for key in asked:
        assert flag_set.functions[key] is UNKNOWN
    assert len(flag_set.functions) == 0


def test_an_unknown_flag_that_comes_is_there() -> None:
    flag_set = FlagSet(flags={"f": flag()})
    assert flag_set.functions["new"] is UNKNOWN
    after = flag_set.patched(set_flags={"new": flag(default="off")}, version="2")
    assert ask(after, "new").variant == "off"
    assert flag_set.functions["new"] is UNKNOWN
    flag_set.replace_flag("new", flag())
    assert ask(flag_set, "new").variant == "on"
    flag_set.replace_flag("new", None)
    assert flag_set.functions["new"] is UNKNOWN


def test_a_later_set_keeps_the_functions_and_none_of_the_unknown_keys() -> None:
    flag_set = FlagSet(flags={"f": flag(), "g": flag()})
    function = flag_set.functions["f"]
    for n in range(UNKNOWN_KEPT_MAX):
        assert flag_set.functions[f"nowhere-{n}"] is UNKNOWN
    after = flag_set.patched(set_flags={"g": flag(default="off")}, version="2")
    assert dict(after.functions) == {"f": function}
    assert after.functions["nowhere"] is UNKNOWN
    assert "nowhere" in after.functions
    after.set_metadata({"team": "a"})
    assert len(after.functions) == 0


def test_the_clock_is_read_only_by_rules_about_the_time() -> None:
    def unread() -> float:
        raise AssertionError("nobody asked for the time")

    about_time = {"if": [{">": [{"var": "$flagd.timestamp"}, 5]}, "on", "off"]}
    flags = {"f": five_rules(1), "g": flag(targeting=about_time)}
    flag_set = FlagSet(flags=flags)
    context = {"targetingKey": "u", "email": "a@b", "country": 7, "version": "1", "plan": [], "id": None}
    assert flag_set.functions["f"](context, unread).variant == "on"
    assert flag_set.functions["g"]({}, lambda: 5.9).variant == "off"
    assert flag_set.functions["g"]({}, lambda: 6).variant == "on"


def test_no_text_of_a_rule_is_in_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    sources: list[str] = []
    compile_source = builtins.compile

    def watched(source: Any, *arguments: Any, **options: Any) -> Any:
        sources.append(str(source))
        return compile_source(source, *arguments, **options)

    monkeypatch.setattr(functions, "compile", watched, raising=False)
    monkeypatch.setattr(functions, "_kept", {})
    evil = "k0); __import__('os')#\n\"'{}\\"
    rules = [
        {"==": [{"var": evil}, evil]},
        {"in": [{"var": [evil, evil]}, [evil, {evil: evil, "x": 1}]]},
        {"in": [evil, {"var": evil}]},
        {"starts_with": [{"var": evil}, evil]},
        {"sem_ver": [{"var": evil}, ">=", "1.2.3-evil"]},
        {"cat": [evil, {"var": evil}]},
        {evil: [evil]},
        {"some": [{"var": evil}, {"==": [{"var": evil}, evil]}]},
        {"in_segment": [{"var": evil}, evil]},
        {"segment": evil},
        {"missing": [evil]},
        {"fractional": [{"var": evil}, [evil, 1]]},
        {"fractional": [[evil, 1], [{"var": evil}, {"var": evil}]]},
    ]
    flags: Any = {evil: flag(variants={evil: True}, default=evil, off_variant=evil, metadata={evil: evil})}
    for n, rule in enumerate(rules):
        flags[f"{evil}{n}"] = flag(targeting={"if": [rule, evil, rule]}, variants={evil: True}, default=evil)
    flag_set = FlagSet(flags=flags, segments={evil: segment(evil, rules=({"var": evil},))})
    for key in flags:
        ask(flag_set, key, {evil: evil, "targetingKey": evil})
    assert len(sources) > len(rules)
    assert not [source for source in sources if "evil" in source or "import" in source or "os" in source]


def test_flags_of_one_shape_share_their_code() -> None:
    flag_set = FlagSet(flags={f"f{n}": five_rules(n) for n in range(10)})
    codes = {function.__code__ for key in flag_set.flags for function in [flag_set.functions[key]]}
    assert len(codes) == 1


def test_thousands_of_compiled_flags_take_little_memory() -> None:
    document = flag_set_document(FlagSet(flags={f"flag-{n}": five_rules(n) for n in range(FLAGS)}))
    gc.collect()
    tracemalloc.start()
    try:
        flag_set = flag_set_from(document)
        for key in document["flags"]:
            assert flag_set.functions[key]({"targetingKey": "u", "id": "user-1"}, now).variant == "off"
        gc.collect()
        bytes_used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert bytes_used < FLAGS * BYTES_PER_FLAG_MAX


def test_what_is_kept_of_shapes_constants_and_versions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "CODE_KEPT_MAX", 8)
    monkeypatch.setattr(functions, "CONSTANTS_KEPT_MAX", 8)
    monkeypatch.setattr(functions, "_kept", {})
    monkeypatch.setattr(functions, "_pool", {})
    for n in range(40):
        conditions = [{"==": [{"var": f"x{at}"}, f"y{n}"]} for at in range(n % 13 + 1)]
        targeting = {"if": [{"and": conditions}, "on", "off"]}
        assert ask(FlagSet(flags={"f": flag(targeting=targeting)}), "f").variant == "off"
        assert len(functions._kept) <= 8
        assert len(functions._pool) <= 8


def test_a_flag_that_could_not_be_compiled_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    flag_set = FlagSet(flags={"f": flag(targeting={"if": [True, "off"]})})
    with monkeypatch.context() as patched:
        patched.setattr(Compiler, "flag", lambda *_: (_ for _ in ()).throw(MemoryError()))
        assert ask(flag_set, "f").error_code == "GENERAL"
    assert ask(flag_set, "f").variant == "off"


def test_threads_that_compile_at_once_get_the_same_answers() -> None:
    evaluators = {f"e{n}": {"and": [{"$ref": f"e{n + 1}"}, {"var": "x"}]} for n in range(20)} | {"e20": True}
    flags = {
        f"f{n}": flag(
            targeting={"if": [{"$ref": f"e{n % 20}"}, "on", "off"]}, prerequisites=needs(("p", "on"))
        )
        for n in range(200)
    }
    flag_set = FlagSet(flags={**flags, "p": flag()}, evaluators=evaluators)
    found: list[set[str]] = []

    def asked() -> None:
        found.append({flag_set.functions[key]({"x": 1}, now).variant for key in flags})

    threads = [threading.Thread(target=asked) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{"on"}] * 4
