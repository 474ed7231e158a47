"""Whatever a peer sends, reading it gives values of the promised types or `Malformed`, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vexil.node.gossip import messages
from vexil.node.gossip.messages import (
    CHANGES_MAX,
    EXTENSION_BYTES_MAX,
    FRAME_BYTES_MAX,
    HASH_BYTES_MAX,
    INCARNATIONS_MAX,
    NAME_BYTES_MAX,
    PROJECTS_MAX,
    PROTOCOL_VERSION,
    URL_BYTES_MAX,
    Malformed,
    Message,
)

TOP = (1 << 64) - 1
CHAIN = bytes(16)

ACCESSORS: dict[str, Callable[[Message], Any]] = {
    "text": lambda m: m.text("x"),
    "url": lambda m: m.text("x", limit_bytes=URL_BYTES_MAX),
    "integer": lambda m: m.integer("x"),
    "flag": lambda m: m.flag("x"),
    "vv": lambda m: m.vv("x"),
    "ages": lambda m: m.ages("x"),
    "changes": lambda m: m.changes("x"),
    "changes_by_project": lambda m: m.changes_by_project("x"),
    "vv_by_project": lambda m: m.vv_by_project("x"),
    "heads_by_project": lambda m: m.heads_by_project("x"),
    "hashes": lambda m: m.hashes("x"),
    "incarnations": lambda m: m.incarnations("x"),
    "incarnations_by_project": lambda m: m.incarnations_by_project("x"),
    "names": lambda m: m.names("x"),
}

keys = st.one_of(st.text(max_size=5), st.binary(max_size=5))
integers = st.one_of(
    st.integers(-(1 << 63), TOP), st.sampled_from([0, 1, -1, TOP, 1 << 63, (1 << 63) - 1, -(1 << 63)])
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    integers,
    st.floats(),
    st.text(max_size=10),
    st.binary(max_size=20),
    st.just(CHAIN),
    st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4)),
    st.builds(msgpack.Timestamp, st.integers(0, 1 << 32), st.integers(0, 999_999_999)),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=12,
)
nearly = st.one_of(
    values,
    st.lists(integers, max_size=6),
    st.dictionaries(st.text(max_size=4), st.lists(integers, max_size=4), max_size=3),
    st.dictionaries(st.text(max_size=4), st.lists(st.binary(max_size=4), max_size=3), max_size=3),
    st.dictionaries(
        st.text(max_size=4),
        st.tuples(st.lists(st.one_of(integers, st.binary(max_size=17), st.just(CHAIN)), max_size=6), values),
        max_size=3,
    ),
)


def fits(name: str, value: Any) -> bool:
    """Whether an accessor's answer is of the type that it promises."""

    def seqs(vv: Any) -> bool:
        return isinstance(vv, dict) and all(0 < i <= TOP and 0 < seq <= TOP for i, seq in vv.items())

    def texts(of: Any) -> bool:
        return all(isinstance(t, str) and len(t.encode()) <= NAME_BYTES_MAX for t in of)

    checks: dict[str, Callable[[Any], bool]] = {
        "text": lambda v: isinstance(v, str) and len(v.encode()) <= NAME_BYTES_MAX,
        "url": lambda v: isinstance(v, str) and len(v.encode()) <= URL_BYTES_MAX,
        "integer": lambda v: type(v) is int and 0 <= v <= TOP,
        "flag": lambda v: type(v) is bool,
        "vv": seqs,
        "ages": lambda v: texts(v) and all(type(a) is int and 0 <= a <= TOP for a in v.values()),
        "changes": lambda v: isinstance(v, list) and all(type(raw) is bytes for raw in v),
        "changes_by_project": lambda v: (
            texts(v) and all(type(raw) is bytes for raws in v.values() for raw in raws)
        ),
        "vv_by_project": lambda v: texts(v) and all(map(seqs, v.values())),
        "heads_by_project": lambda v: (
            texts(v)
            and all(
                isinstance(root, str)
                and seqs({i: seq for i, (seq, _) in heads.items()})
                and all(type(chain) is bytes and len(chain) == 16 for _, chain in heads.values())
                for heads, root in v.values()
            )
        ),
        "hashes": lambda v: texts(v) and all(type(h) is bytes and len(h) <= 32 for h in v.values()),
        "incarnations": lambda v: isinstance(v, list) and all(type(i) is int and 0 < i <= TOP for i in v),
        "incarnations_by_project": lambda v: (
            texts(v) and all(type(i) is int and 0 < i <= TOP for listed in v.values() for i in listed)
        ),
        "names": lambda v: isinstance(v, list) and texts(v),
    }
    return checks[name](value)


def read_everything(raw: bytes) -> None:
    try:
        message = Message.decode(raw)
    except Malformed:
        return
    for name, accessor in ACCESSORS.items():
        try:
            value = accessor(message)
        except Malformed:
            continue
        assert fits(name, value), (name, value)


@given(st.binary(max_size=200))
@example(b"\x91" * 5_000 + b"\x90")
@example(b"\x81\xa1v" * 2_000)
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xc6\xff\xff\xff\xff")
@example(b"\x81\xa1v\xc7\x0c\xff" + bytes(12))
@example(b"\x82\xa1v\x01\xa1x\xd9\x01\xff")
@example(b"\x82\xa1v\x01\x01\x02")
def test_any_bytes_are_read_or_are_malformed(raw: bytes) -> None:
    read_everything(raw)
    read_everything(b"\x82\xa1v\x01\xa1x" + raw)


@given(nearly, st.one_of(st.just(PROTOCOL_VERSION), values), st.dictionaries(keys, values, max_size=3))
def test_any_values_are_read_or_are_malformed(value: object, version: object, more: dict[Any, Any]) -> None:
    read_everything(msgpack.packb({**more, "v": version, "x": value}))


vectors = st.dictionaries(st.integers(1, TOP), st.integers(1, TOP), max_size=5)


@given(vectors, st.binary(min_size=16, max_size=16))
def test_vectors_and_heads_are_read_as_they_were_told(vv: dict[int, int], chain: bytes) -> None:
    told = messages.encode({"x": messages.flat_vv(vv)})
    assert Message.decode(told).vv("x") == vv
    heads = [messages.flat_heads(vv, dict.fromkeys(vv, chain)), "root"]
    read = Message.decode(messages.encode({"x": {"p": heads}})).heads_by_project("x")
    assert read == {"p": ({i: (seq, chain) for i, seq in vv.items()}, "root")}


@pytest.mark.parametrize("version", [0, -1, None, True, 1.0, "1", b"1", [1]])
def test_what_is_not_of_this_protocol_or_a_later_one_is_malformed(version: object) -> None:
    with pytest.raises(Malformed, match="version"):
        Message.decode(msgpack.packb({"v": version}))


def test_a_message_without_a_version_is_malformed() -> None:
    with pytest.raises(Malformed, match="version"):
        Message.decode(msgpack.packb({}))


@pytest.mark.parametrize("version", [PROTOCOL_VERSION, PROTOCOL_VERSION + 1, 1_000_000])
def test_members_of_a_later_version_are_ignored(version: int) -> None:
    message = Message.decode(msgpack.packb({"v": version, "x": [7, 1], "hologram": {"deep": [1]}}))
    assert message.vv("x") == {7: 1}
    heads = msgpack.packb({"v": version, "x": {"p": [[7, 1, CHAIN], "root", "more"]}})
    assert Message.decode(heads).heads_by_project("x") == {"p": ({7: (1, CHAIN)}, "root")}


WRONG: dict[str, list[object]] = {
    "text": [None, 1, b"x", ["x"]],
    "integer": [None, "1", 1.0, True, -1],
    "flag": [None, 0, 1, "true"],
    "vv": [None, {}, [1], [0, 1], [1, 0], [-1, 1], [1, True], [1.0, 1], ["1", 1], [[1, 1]]],
    "ages": [None, [], {"p": -1}, {"p": True}, {"p": 1.0}, {b"p": 1}],
    "changes": [None, {}, ["x"], [None], [[b"x"]]],
    "changes_by_project": [None, [], {"p": None}, {"p": ["x"]}, {b"p": []}],
    "vv_by_project": [None, [], {"p": None}, {"p": [0, 1]}, {"p": [1]}],
    "heads_by_project": [
        None,
        {"p": None},
        {"p": [[]]},
        {"p": [[], 1]},
        {"p": [[1, 1], "root"]},
        {"p": [[1, 1, CHAIN[:15]], "root"]},
        {"p": [[1, 1, CHAIN + b"x"], "root"]},
        {"p": [[1, 1, "x" * 16], "root"]},
        {"p": [[0, 1, CHAIN], "root"]},
        {"p": [[1, 0, CHAIN], "root"]},
        {"p": [[1, True, CHAIN], "root"]},
    ],
    "hashes": [None, [], {"p": None}, {"p": "x"}, {"p": [1]}],
    "incarnations": [None, {}, [0], [-1], [True], ["1"]],
    "incarnations_by_project": [None, [], {"p": None}, {"p": [0]}, {"p": [True]}, {b"p": [1]}],
    "names": [None, {}, [1], [b"x"]],
}


@pytest.mark.parametrize(
    ("accessor", "value"), [(accessor, value) for accessor, values in WRONG.items() for value in values]
)
def test_a_member_that_does_not_fit_is_malformed_and_named(accessor: str, value: object) -> None:
    message = Message.decode(msgpack.packb({"v": 1, "x": value}))
    with pytest.raises(Malformed, match=r"^x"):
        ACCESSORS[accessor](message)


@pytest.mark.parametrize("accessor", sorted(ACCESSORS))
def test_an_absent_member_is_malformed_unless_it_has_a_meaning(accessor: str) -> None:
    absent = Message.decode(messages.encode({}))
    meaning: dict[str, object] = {"flag": False, "incarnations": [], "incarnations_by_project": {}}
    if accessor in meaning:
        assert ACCESSORS[accessor](absent) == meaning[accessor]
    else:
        with pytest.raises(Malformed, match=r"^x"):
            ACCESSORS[accessor](absent)


def filler(count: int) -> list[int]:
    return list(range(1, count + 1))


LIMITS: dict[str, tuple[str, Any, Any]] = {
    "NAME_BYTES_MAX of a text": ("text", "é" * (NAME_BYTES_MAX // 2), "é" * (NAME_BYTES_MAX // 2) + "x"),
    "NAME_BYTES_MAX of a project": (
        "ages",
        {"é" * (NAME_BYTES_MAX // 2): 1},
        {"é" * (NAME_BYTES_MAX // 2) + "x": 1},
    ),
    "NAME_BYTES_MAX of a listed text": ("names", ["x" * NAME_BYTES_MAX], ["x" * (NAME_BYTES_MAX + 1)]),
    "URL_BYTES_MAX": ("url", "u" * URL_BYTES_MAX, "u" * (URL_BYTES_MAX + 1)),
    "64 bits": ("integer", TOP, -1),
    "HASH_BYTES_MAX": ("hashes", {"p": bytes(HASH_BYTES_MAX)}, {"p": bytes(HASH_BYTES_MAX + 1)}),
    "PROJECTS_MAX of a map": (
        "ages",
        dict.fromkeys(map(str, filler(PROJECTS_MAX)), 1),
        dict.fromkeys(map(str, filler(PROJECTS_MAX + 1)), 1),
    ),
    "PROJECTS_MAX of a list": ("names", ["p"] * PROJECTS_MAX, ["p"] * (PROJECTS_MAX + 1)),
    "INCARNATIONS_MAX of a vector": ("vv", filler(2 * INCARNATIONS_MAX), filler(2 * INCARNATIONS_MAX + 2)),
    "INCARNATIONS_MAX of a list": ("incarnations", filler(INCARNATIONS_MAX), filler(INCARNATIONS_MAX + 1)),
    "CHANGES_MAX": ("changes", [b""] * CHANGES_MAX, [b""] * (CHANGES_MAX + 1)),
    "CHANGES_MAX a project": (
        "changes_by_project",
        {"p": [b""] * CHANGES_MAX, "q": [b""] * CHANGES_MAX},
        {"p": [b""], "q": [b""] * (CHANGES_MAX + 1)},
    ),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_limit_holds_what_it_says_and_not_one_more(limit: str) -> None:
    accessor, most, too_much = LIMITS[limit]
    assert fits(accessor, ACCESSORS[accessor](Message({"v": 1, "x": most})))
    with pytest.raises(Malformed, match=r"^x"):
        ACCESSORS[accessor](Message({"v": 1, "x": too_much}))


def test_heads_are_bounded_like_vectors() -> None:
    def heads(count: int) -> Message:
        flat = [item for i in filler(count) for item in (i, 1, CHAIN)]
        return Message({"v": 1, "x": {"p": [flat, "root"]}})

    assert len(heads(INCARNATIONS_MAX).heads_by_project("x")["p"][0]) == INCARNATIONS_MAX
    with pytest.raises(Malformed, match=r"^x"):
        heads(INCARNATIONS_MAX + 1).heads_by_project("x")


def test_a_frame_is_bounded() -> None:
    around = len(messages.encode({"x": bytes(1 << 16)})) - (1 << 16)
    raw = messages.encode({"x": bytes(FRAME_BYTES_MAX - around)})
    assert len(raw) == FRAME_BYTES_MAX
    Message.decode(raw)
    with pytest.raises(Malformed, match=str(FRAME_BYTES_MAX)):
        Message.decode(raw + b"\0")


def test_an_extension_of_a_later_version_is_passed_over_up_to_its_bound() -> None:
    def with_extension(length: int) -> bytes:
        return messages.encode({"x": 1, "later": msgpack.ExtType(7, bytes(length))})

    assert Message.decode(with_extension(EXTENSION_BYTES_MAX)).integer("x") == 1
    with pytest.raises(Malformed, match="not msgpack"):
        Message.decode(with_extension(EXTENSION_BYTES_MAX + 1))
