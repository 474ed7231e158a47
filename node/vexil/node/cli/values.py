"""What is written on the command line as ``path=JSON``, turned into a merge patch and single-element operations.

The one idea: others edit the same sets at the same moment, so what is said about one element is sent about one
element. ``tags+=web`` becomes one ``add_tag``, and ``tags=["web"]`` the adds and removes that lead there from what
the author's ``GET`` showed. All else is one merge patch, which is always sent with the ``ETag`` of that ``GET``; the
node compares arrays in it element by element::

    description="new"      default=on           variants.red="#f00"      /metadata/a.b=1 (names with dots)
    tags+=web              tags-=web            rules+={"if":…}          rules-=r1          enabled=null
    prerequisites+={"flag":"checkout","variant":"on"}                    prerequisites-=checkout
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import click

Operator = Literal["=", "+=", "-="]

# A bare word needs no quotes: `default=on`. What begins like JSON must be JSON, so that a slip is not stored as text.
_BARE_WORD = re.compile(r"[^\W\d][\w .,:/@+-]*")
_NOT_JSON = {"NaN", "Infinity"}
_ASSIGNMENT = re.compile(r"(?P<path>[^=]+?)(?P<operator>\+=|-=|=)(?P<text>.*)", re.DOTALL)
_FLAG_FIELDS = {
    "archived", "client_visible", "description", "environments", "owner", "prerequisites", "tags", "variants"
}  # fmt: skip
_ENVIRONMENT_FIELDS = {"default", "enabled", "kill", "metadata", "off_variant", "rules", "targeting"}
_ELEMENT_SETS = {"tags", "rules", "prerequisites"}
_TYPES_WITHOUT_BARE_WORDS = {"boolean", "integer", "float", "object"}


@dataclass(frozen=True, slots=True)
class Assignment:
    """One ``path=JSON`` of the command line."""

    path: tuple[str, ...]
    operator: Operator
    value: Any
    text: str


def parse_value(text: str) -> Any:
    """The JSON value that ``text`` is; a bare word stands for itself. Raises click.BadParameter."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise click.BadParameter("the JSON is nested too deeply") from None
    except ValueError as error:
        if _BARE_WORD.fullmatch(text) and text not in _NOT_JSON:
            return text
        hint = "a text with other characters is written as JSON: 'name=\"some text\"'"
        raise click.BadParameter(f"{text!r} is not JSON ({error}); {hint}") from None


def parse_assignment(text: str) -> Assignment:
    """Read one ``path=JSON``, ``path+=JSON`` or ``path-=JSON``. Raises click.BadParameter."""
    match = _ASSIGNMENT.fullmatch(text)
    if match is None:
        raise click.BadParameter(f'{text!r} is not path=JSON, for example description="new" or tags+=web')
    operator: Operator = match["operator"]  # type: ignore[assignment]  # the expression allows just these
    return Assignment(_split(match["path"]), operator, parse_value(match["text"]), text)


def parse_variant(text: str, flag_type: str) -> tuple[str, Any]:
    """Read ``name=JSON`` of a flag of type ``flag_type``. Raises click.BadParameter."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise click.BadParameter(f"{text!r} is not name=JSON, for example on=true")
    parsed = parse_value(value)
    if flag_type in _TYPES_WITHOUT_BARE_WORDS and parsed == value and isinstance(parsed, str):
        raise click.BadParameter(f"{value!r} is not a value of type {flag_type}")
    return name, parsed


def patch_of(assignments: Iterable[Assignment], environment: str | None) -> dict[str, Any]:
    """The merge patch of plain assignments; with ``environment`` its fields are those of that environment.

    Raises UsageError when two of them are in each other's way.
    """
    patch: dict[str, Any] = {}
    for assignment in assignments:
        full = _full_path(assignment, environment)
        place = patch
        for part in full[:-1]:
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                raise click.UsageError(f"{assignment.text!r} sets something inside of what is set already")
            place = inner
        if full[-1] in place:
            raise click.UsageError(f"{assignment.text!r} sets something that is set already")
        place[full[-1]] = assignment.value
    return patch


def split_elements(assignments: Iterable[Assignment]) -> tuple[list[Assignment], list[Assignment]]:
    """Separate what goes into the patch from what becomes operations on single elements.

    Raises UsageError for ``+=`` and ``-=`` on what is not a set of elements.
    """
    whole: list[Assignment] = []
    elements: list[Assignment] = []
    for assignment in assignments:
        if assignment.operator != "=" and assignment.path[-1] not in _ELEMENT_SETS:
            raise click.UsageError(
                f"{assignment.text!r}: += and -= are for {', '.join(sorted(_ELEMENT_SETS))}; "
                "for the rest write path=JSON"
            )
        replaces_tags = assignment.path == ("tags",) and isinstance(assignment.value, list)
        (elements if assignment.operator != "=" or replaces_tags else whole).append(assignment)
    return whole, elements


def element_operations(
    assignment: Assignment, flag: Mapping[str, Any], environment: str | None, *, etag: str | None
) -> list[dict[str, Any]]:
    """The operations that ``assignment`` means for ``flag``, as its author's GET showed it.

    What replaces or removes something seen carries ``etag`` as ``if_match``; a pure add needs none. Raises
    UsageError.
    """
    full = _full_path(assignment, environment)
    target: dict[str, Any] = {"flag": flag["key"]}
    match full:
        case ("tags",):
            return _tag_operations(assignment, flag.get("tags") or [], target)
        case ("environments", name, "rules"):
            present = (flag.get("environments") or {}).get(name, {}).get("rules") or []
            return _rule_operations(assignment, present, {**target, "environment": name}, etag)
        case ("prerequisites",):
            return [_prerequisite_patch(assignment, flag.get("prerequisites") or [], target, etag)]
        case _:
            raise click.UsageError(f"there is no set of elements at {'.'.join(full)}")


def member_names(texts: Sequence[str]) -> list[str]:
    """The members of a command line, each once, in order. Raises click.BadParameter for an empty one."""
    if any(not text for text in texts):
        raise click.BadParameter("a member cannot be empty")
    return list(dict.fromkeys(texts))


def _tag_operations(
    assignment: Assignment, present: Sequence[str], target: Mapping[str, Any]
) -> list[dict[str, Any]]:
    values = assignment.value if isinstance(assignment.value, list) else [assignment.value]
    if not all(isinstance(value, str) for value in values):
        raise click.UsageError(f"{assignment.text!r}: a tag is a text")
    wanted = list(dict.fromkeys(values))
    if assignment.operator == "+=":
        added, removed = wanted, []
    elif assignment.operator == "-=":
        added, removed = [], wanted
    else:
        added = [tag for tag in wanted if tag not in present]
        removed = [tag for tag in present if tag not in wanted]
    return [
        *({"op": "add_tag", **target, "tag": tag} for tag in added),
        *({"op": "remove_tag", **target, "tag": tag} for tag in removed),
    ]


def _rule_operations(
    assignment: Assignment, present: Sequence[Mapping[str, Any]], target: Mapping[str, Any], etag: str | None
) -> list[dict[str, Any]]:
    seen = {"if_match": etag} if etag else {}
    known = {rule.get("id"): rule for rule in present}
    values = assignment.value if isinstance(assignment.value, list) else [assignment.value]
    if assignment.operator == "-=":
        gone = [value.get("id") if isinstance(value, dict) else value for value in values]
        unknown = [name for name in gone if name not in known]
        if unknown:
            raise click.UsageError(f"there is no rule {unknown[0]!r}; there are {', '.join(map(str, known))}")
        return [{"op": "remove_rule", **target, "id": name, **seen} for name in gone]
    if not all(isinstance(value, dict) for value in values):
        raise click.UsageError(f'{assignment.text!r}: a rule is an object like {{"if": true, "serve": "on"}}')
    return [
        {"op": "put_rule", **target, "rule": rule, **(seen if rule.get("id") in known else {})}
        for rule in values
    ]


def _prerequisite_patch(
    assignment: Assignment, present: Sequence[Mapping[str, Any]], target: Mapping[str, Any], etag: str | None
) -> dict[str, Any]:
    """The API has no operation for one prerequisite: the array that was seen, with one element more or less."""
    values = assignment.value if isinstance(assignment.value, list) else [assignment.value]
    if assignment.operator == "+=":
        if not all(isinstance(value, dict) and "flag" in value for value in values):
            raise click.UsageError(f'{assignment.text!r}: write {{"flag": "checkout", "variant": "on"}}')
        named = {value["flag"] for value in values}
        wanted = [*(item for item in present if item.get("flag") not in named), *values]
    else:
        named = {value.get("flag") if isinstance(value, dict) else value for value in values}
        unknown = [name for name in named if name not in {item.get("flag") for item in present}]
        if unknown:
            raise click.UsageError(f"{unknown[0]!r} is not a prerequisite of {target['flag']}")
        wanted = [item for item in present if item.get("flag") not in named]
    patch = {"op": "patch", **target, "patch": {"prerequisites": wanted}}
    return {**patch, "if_match": etag} if etag else patch


def _full_path(assignment: Assignment, environment: str | None) -> tuple[str, ...]:
    """Where ``assignment`` goes: what belongs to the whole flag does so with ``--env`` too, so both fit one change."""
    if environment and assignment.path[0] not in _FLAG_FIELDS:
        return ("environments", environment, *assignment.path)
    if not environment and assignment.path[0] in _ENVIRONMENT_FIELDS:
        raise click.UsageError(f"{assignment.path[0]} belongs to an environment: give --env")
    return assignment.path


def _split(text: str) -> tuple[str, ...]:
    """A dotted path, or a JSON pointer for names that have dots in them."""
    if text.startswith("/"):
        parts = tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))
    else:
        parts = tuple(text.split("."))
    if not all(parts):
        raise click.BadParameter(f"{text!r} has an empty part; write a.b, or /a/b for names with dots")
    return parts


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
