"""What each kind of operation means: what its author looks at first, and what a node then has to decide.

A wish comes from the operation and the stream of its number alone, so it is the same whatever else is in the plan. What
depends on the state (is the flag there? which conflict?) is drawn beforehand as a number and looked up when a node
decides, which may happen more than once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from vexil.chaos.clients.operations import CONTESTED, ENVIRONMENTS, PAIR, PEOPLE, SEGMENTS, SOFT, flag_body
from vexil.chaos.run.plan import Operation
from vexil.crdt.schema import flag_object
from vexil.node.authoring import change_set, etag_of, resolve_conflict, unkill_flag
from vexil.node.authoring.intent import Intent
from vexil.node.project import Project

TEXT_MAX: Final = 160
"""Characters of a wish in the timeline."""
TAGS: Final = ("x", "y")
RULES: Final = ("r1", "r2", "r3")

Body = dict[str, Any]
Decide = Callable[[Project, Any], Intent]
"""What a node has to decide, given what the author has looked at (None if at nothing)."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What an operation asks for."""

    text: str
    """What a person reads of it; equal wishes have equal texts."""
    decide: Decide
    look: Callable[[Project], Any] | None = None
    """What the author reads first, perhaps at another node; without it he decides on nothing."""
    conditional: bool = False
    """What he has read is an ``If-Match``."""


def wish(operation: Operation, rng: Random) -> Wish:
    """What ``operation`` asks for; it is a write."""
    return _WISHES[operation.kind](_Author(operation, rng))


class _Author:
    """Whoever has the operation in mind, while he makes up his mind."""

    def __init__(self, operation: Operation, rng: Random) -> None:
        self.kind, self.flag, self.environment = operation.kind, operation.flag, operation.environment
        self.mark = f"{operation.client}-{operation.number}"
        self.rng = rng

    def on_flag(self, name: str, **members: object) -> Body:
        """An operation of a change set on the flag."""
        return {"op": name, "flag": self.flag, **members}

    def in_environment(self, **members: object) -> Body:
        """A patch of the flag's part in the environment."""
        return self.on_flag("patch", patch={"environments": {self.environment: members}})

    def text(self, operations: list[Body]) -> str:
        said = [{n: v for n, v in each.items() if n != "value"} for each in operations]
        whole = f"{self.kind} {json.dumps(said, separators=(',', ':'))}"
        return whole if len(whole) <= TEXT_MAX else f"{whole[: TEXT_MAX - 1]}…"

    def set(self, *operations: Body) -> Wish:
        """All of them in one change."""
        chosen = list(operations)
        return Wish(self.text(chosen), lambda view, _: _decided(view, chosen))

    def condition(self) -> dict[str, object]:
        """Somebody who is named in a rule."""
        if self.rng.random() < 0.25:
            return {"segment": [self.rng.choice(SEGMENTS)]}
        return {"==": [{"var": "who"}, self.rng.choice(PEOPLE)]}


def _decided(view: Project, operations: list[Body]) -> Intent:
    return change_set(view, {"operations": operations}, new_id=_no_id).intent


def _no_id() -> str:
    raise AssertionError("every rule of this workload has an id")


# -- one flag


def _patch(author: _Author) -> Wish:
    part = {"enabled": author.rng.random() < 0.7, "default": author.rng.choice(("on", "off"))}
    return author.set(
        author.rng.choice(
            (
                author.on_flag("patch", patch={"description": author.mark}),
                author.on_flag("patch", patch={"owner": author.mark}),
                author.in_environment(**part),
            )
        )
    )


def _tag(author: _Author) -> Wish:
    name = "add_tag" if author.kind == "tag" else "remove_tag"
    return author.set(author.on_flag(name, tag=author.rng.choice(TAGS)))


def _rule(author: _Author) -> Wish:
    rule = {
        "id": author.rng.choice(RULES),
        "description": author.mark,
        "if": author.condition(),
        "serve": author.rng.choice(("on", "off")),
    }
    return author.set(author.on_flag("put_rule", environment=author.environment, rule=rule))


def _split(author: _Author) -> Wish:
    weight = author.rng.randint(1, 99)
    rule = {
        "id": author.rng.choice(RULES),
        "description": author.mark,
        "if": {"!=": [{"var": "who"}, "nobody"]},
        "split": [["on", weight], ["off", 100 - weight]],
    }
    return author.set(author.on_flag("put_rule", environment=author.environment, rule=rule))


def _unrule(author: _Author) -> Wish:
    return author.set(
        author.on_flag("remove_rule", environment=author.environment, id=author.rng.choice(RULES))
    )


def _move(author: _Author) -> Wish:
    """One rule before another; who finds fewer than two puts two there."""
    flag, environment = author.flag, author.environment
    which, where, logic = author.rng.random(), author.rng.random(), author.condition()

    def decide(view: Project, _: Any) -> Intent:
        state = view.flag(flag)
        ids = [] if state is None else [rule.id for rule in state.environments[environment].rules]
        if len(ids) < 2:
            rules = [
                {"id": rule, "if": logic, "serve": serve} for rule, serve in (("r1", "on"), ("r2", "off"))
            ]
            return _decided(view, [author.in_environment(rules=rules)])
        moved = ids.pop(int(which * len(ids)))
        before = ids[int(where * len(ids))]
        return _decided(view, [author.on_flag("move_rule", environment=environment, id=moved, before=before)])

    return Wish(f"move rule {which:.2f} of {flag} in {environment} before {where:.2f}", decide)


def _variant(author: _Author) -> Wish:
    edits = (
        author.on_flag("patch", patch={"variants": {"third": True}}),
        author.on_flag("patch", patch={"variants": {"third": True}}),
        author.on_flag("patch", patch={"variants": {"third": None}}),
        author.in_environment(default="third"),
    )
    return author.set(author.rng.choice(edits))


def _prerequisite(author: _Author) -> Wish:
    """Two who do it at once can make a circle."""
    other = author.rng.choice([flag for flag in CONTESTED if flag != author.flag])
    wanted = [{"flag": other, "variant": "on"}] if author.rng.random() < 0.6 else []
    return author.set(author.on_flag("patch", patch={"prerequisites": wanted}))


def _targeting(author: _Author) -> Wish:
    """In the place of all rules, which it excludes; two who do not see each other can have both."""
    if author.rng.random() < 0.5:
        return author.set(author.in_environment(targeting=None))
    logic = {"if": [author.condition(), "on", "off"]}
    return author.set(author.in_environment(targeting=logic, rules=[]))


def _kill(author: _Author) -> Wish:
    return author.set(author.on_flag("kill", environment=author.environment))


def _unkill(author: _Author) -> Wish:
    """By somebody who has seen the kill: a while ago, or in the very state that it is decided on."""
    flag, environment = author.flag, author.environment

    def look(view: Project) -> str:
        return etag_of(view.replica.cells(flag_object(flag)))

    def decide(view: Project, looked: Any) -> Intent:
        return unkill_flag(view, flag, environment, if_match=look(view) if looked is None else looked)

    earlier = author.rng.random() < 0.5
    text = author.text([author.on_flag("unkill", environment=environment)])
    return Wish(text, decide, look if earlier else None, conditional=earlier)


def _stale(author: _Author) -> Wish:
    """An edit by somebody who has read the flag a while ago, perhaps at another node."""
    rule = {"id": author.rng.choice(RULES), "if": author.condition(), "serve": "off"}
    edits = (
        author.on_flag("patch", patch={"description": author.mark}),
        author.in_environment(default=author.rng.choice(("on", "off"))),
        author.on_flag("put_rule", environment=author.environment, rule=rule),
        author.on_flag("delete"),
    )
    edit = author.rng.choices(edits, (3, 3, 2, 1))[0]
    name = flag_object(author.flag)
    return Wish(
        author.text([edit]),
        lambda view, looked: _decided(view, [{**edit, "if_match": looked}]),
        lambda view: etag_of(view.replica.cells(name)),
        conditional=True,
    )


def _resolve(author: _Author) -> Wish:
    """One of the siblings of one of the conflicts that there are: those seen a while ago, or those of now.

    The pair is left alone: its flags have a conflict each, and who answers one of them parts them.
    """
    which, whose, earlier = (author.rng.random() for _ in range(3))
    pair = {flag_object(flag) for flag in PAIR}

    def look(view: Project) -> tuple[str, str] | None:
        records = [record for record in view.conflicts() if record.object not in pair]
        if not records:
            return None
        record = records[int(which * len(records))]
        return record.id, record.siblings[int(whose * len(record.siblings))].change

    def decide(view: Project, looked: Any) -> Intent:
        found = look(view) if looked is None else looked
        return Intent() if found is None else resolve_conflict(view, found[0], {"choose": found[1]})

    text = f"resolve conflict {which:.2f}, sibling {whose:.2f}"
    return Wish(text, decide, look if earlier < 0.5 else None)


# -- several flags, and such as come into being when they are wanted


def _pair(author: _Author) -> Wish:
    patch = {
        "owner": author.mark,
        "environments": {e: {"metadata": {"release": author.mark}} for e in ENVIRONMENTS},
    }
    return author.set(*({"op": "patch", "flag": flag, "patch": patch} for flag in PAIR))


def _both(author: _Author) -> Wish:
    flags = [*author.rng.sample(CONTESTED, 2), PAIR[0]]
    return author.set(
        *({"op": "patch", "flag": flag, "patch": {"description": author.mark}} for flag in flags)
    )


def _metadata_of(view: Project, flag: str, environment: str, mark: str) -> Body:
    """Leave a note at the flag; make it if it is not there."""
    part = {"enabled": True, "metadata": {"note": mark}}
    if view.flag(flag) is None:
        body = {"type": "boolean", "environments": {environment: part}}
        return {"op": "create", "flag": flag, "value": body}
    return {"op": "patch", "flag": flag, "patch": {"environments": {environment: part}}}


def _metadata(author: _Author) -> Wish:
    def decide(view: Project, _: Any) -> Intent:
        return _decided(view, [_metadata_of(view, author.flag, author.environment, author.mark)])

    return Wish(f"metadata of {author.flag} in {author.environment}: {author.mark}", decide)


def _several(author: _Author) -> Wish:
    contested = author.on_flag("patch", patch={"owner": author.mark})
    soft = author.rng.choice(SOFT)

    def decide(view: Project, _: Any) -> Intent:
        return _decided(view, [contested, _metadata_of(view, soft, author.environment, author.mark)])

    return Wish(f"{author.text([contested])} and metadata of {soft}", decide)


# -- segments: whoever wants one that is not there makes it


def _on_segment(author: _Author, edit: Body, body: Body) -> Wish:
    """``edit``, and before it, if there is no such segment, its creation with ``body``."""

    def decide(view: Project, _: Any) -> Intent:
        missing = view.segment(author.flag) is None
        create = {"op": "create", "segment": author.flag, "value": body}
        return _decided(view, [create, edit] if missing else [edit])

    return Wish(author.text([edit]), decide)


def _segment(author: _Author) -> Wish:
    body: Body = {"description": author.mark}
    if author.rng.random() < 0.5:
        body["members"] = author.rng.sample(PEOPLE, 2)
    return _on_segment(author, {"op": "patch", "segment": author.flag, "patch": body}, body)


def _segment_member(author: _Author) -> Wish:
    name = author.rng.choice(("add_member", "add_member", "remove_member"))
    edit = {"op": name, "segment": author.flag, "member": author.rng.choice(PEOPLE)}
    return _on_segment(author, edit, {"members": [author.rng.choice(PEOPLE)]})


def _segment_rule(author: _Author) -> Wish:
    rule = {"id": "s1", "if": {"==": [{"var": "who"}, author.rng.choice(PEOPLE)]}}
    edits: tuple[Body, ...] = (
        {"op": "put_rule", "segment": author.flag, "rule": rule},
        {"op": "remove_rule", "segment": author.flag, "id": "s1"},
    )
    return _on_segment(author, author.rng.choice(edits), {"members": []})


_WISHES: Final[dict[str, Callable[[_Author], Wish]]] = {
    "patch": _patch,
    "delete": lambda author: author.set(author.on_flag("delete")),
    "create": lambda author: author.set(author.on_flag("create", value=flag_body(author.mark))),
    "kill": _kill,
    "unkill": _unkill,
    "tag": _tag,
    "untag": _tag,
    "rule": _rule,
    "unrule": _unrule,
    "move": _move,
    "split": _split,
    "variant": _variant,
    "prerequisite": _prerequisite,
    "targeting": _targeting,
    "stale": _stale,
    "resolve": _resolve,
    "pair": _pair,
    "both": _both,
    "set": _several,
    "metadata": _metadata,
    "segment": _segment,
    "segment_delete": lambda author: author.set({"op": "delete", "segment": author.flag}),
    "segment_member": _segment_member,
    "segment_rule": _segment_rule,
}
