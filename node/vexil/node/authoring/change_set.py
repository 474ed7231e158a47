"""``POST /changes``: several operations, one atomic change.

The operations are done in order on the sheets of one workspace, so each sees what the earlier ones have done, and the
later of two that set one thing wins. The first that cannot be done refuses all, and says which one it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vexil.crdt.schema import FLAG, SEGMENT
from vexil.node.authoring.flags import FlagAuthor
from vexil.node.authoring.intent import Intent
from vexil.node.authoring.json_data import Mistakes, look_through, pointer
from vexil.node.authoring.limits import FLAGS_MAX, OPERATIONS_MAX, TEXT_BYTES_MAX, refuse_over
from vexil.node.authoring.segments import SegmentAuthor
from vexil.node.authoring.view import NewId, View
from vexil.node.authoring.workspace import Workspace
from vexil.node.errors import ApiError

CHANGE: Final = "change"

_FLAG_OPERATIONS: Final[Mapping[str, frozenset[str]]] = {
    "create": frozenset(("value",)),
    "patch": frozenset(("patch",)),
    "delete": frozenset(),
    "kill": frozenset(("environment",)),
    "unkill": frozenset(("environment",)),
    "put_rule": frozenset(("environment", "rule")),
    "remove_rule": frozenset(("environment", "id")),
    "move_rule": frozenset(("environment", "id")),
    "add_tag": frozenset(("tag",)),
    "remove_tag": frozenset(("tag",)),
}
"""What each operation on a flag needs beside ``op`` and ``flag``."""
_SEGMENT_OPERATIONS: Final[Mapping[str, frozenset[str]]] = {
    "create": frozenset(("value",)),
    "patch": frozenset(("patch",)),
    "delete": frozenset(),
    "put_rule": frozenset(("rule",)),
    "remove_rule": frozenset(("id",)),
    "move_rule": frozenset(("id",)),
    "add_member": frozenset(("member",)),
    "remove_member": frozenset(("member",)),
}
_OPTIONAL: Final[Mapping[str, frozenset[str]]] = {
    "put_rule": frozenset(("before",)),
    "move_rule": frozenset(("before",)),
}
_PATHS: Final[Mapping[str, str]] = {"create": "/value", "patch": "/patch"}
"""Where in an operation the body of the object is."""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """The change, its message, and per operation what it was done to (``rule``: the id of a rule that was put)."""

    intent: Intent
    message: str
    results: list[dict[str, object]]


def message_of(body: object) -> str:
    """The message of a change set; what is wrong with it is said by `change_set`."""
    message = body.get("message") if isinstance(body, dict) else None
    return message if isinstance(message, str) else ""


def change_set(view: View, body: object, *, new_id: NewId, flags_max: int = FLAGS_MAX) -> ChangeSet:
    """Decide ``{"message", "operations": […]}``. Raises what its operations raise, told as theirs."""
    look_through(CHANGE, body)
    mistakes = Mistakes(CHANGE)
    members = mistakes.mapping("", body)
    mistakes.only("", members, frozenset(("message", "operations")))
    if members.get("message") is not None:
        mistakes.text("/message", members["message"], bytes_max=TEXT_BYTES_MAX, empty=True)
    if "operations" not in members:
        mistakes.add("/operations", "is missing")
    operations = mistakes.array("/operations", members.get("operations", []))
    refuse_over("operations", len(operations), OPERATIONS_MAX, unit="operations")
    checked = [_checked(item, index, mistakes) for index, item in enumerate(operations)]
    mistakes.refuse()
    workspace = Workspace(view, flags_max=flags_max)
    results = []
    for index, operation in enumerate(checked):
        try:
            results.append(_perform(workspace, operation, new_id))
        except ApiError as error:
            raise error.of_operation(index) from None
    return ChangeSet(workspace.intent(), message_of(body), results)


def _checked(item: object, index: int, mistakes: Mistakes) -> Mapping[str, Any]:
    """The operation, with all members that it needs and no others; mistakes are noted."""
    path = pointer("/operations", index)
    operation = mistakes.mapping(path, item)
    if not isinstance(item, dict):
        return operation
    if (FLAG in operation) == (SEGMENT in operation):
        mistakes.add(path, "must have either flag or segment")
        return operation
    target = FLAG if FLAG in operation else SEGMENT
    mistakes.text(pointer(path, target), operation[target], bytes_max=TEXT_BYTES_MAX)
    known = _FLAG_OPERATIONS if target == FLAG else _SEGMENT_OPERATIONS
    name = operation.get("op")
    if not isinstance(name, str) or name not in known:
        mistakes.add(pointer(path, "op"), f"must be one of {', '.join(known)}")
        return operation
    needed = known[name]
    for member in sorted(needed - operation.keys()):
        mistakes.add(pointer(path, member), "is missing")
    allowed = needed | _OPTIONAL.get(name, frozenset()) | {"op", target}
    if name != "create":  # nobody can have seen what is not there yet
        allowed |= {"if_match"}
    mistakes.only(path, operation, allowed)
    return operation


def _perform(workspace: Workspace, operation: Mapping[str, Any], new_id: NewId) -> dict[str, object]:
    target = FLAG if FLAG in operation else SEGMENT
    key = operation[target]
    result: dict[str, object] = {"op": operation["op"], target: key}
    perform = _on_flag if target == FLAG else _on_segment
    rule_id = perform(workspace, key, operation, new_id)
    if rule_id is not None:
        result["rule"] = rule_id
    return result


def _on_flag(workspace: Workspace, key: str, operation: Mapping[str, Any], new_id: NewId) -> str | None:
    author = FlagAuthor(workspace, new_id=new_id, path=_PATHS.get(operation["op"], ""))
    given: dict[str, Any] = {"if_match": operation.get("if_match")}
    environment = operation.get("environment", "")
    match operation["op"]:
        case "create":
            author.create(operation["value"], key=key)
        case "patch":
            author.patch(key, operation["patch"], **given)
        case "delete":
            author.delete(key, **given)
        case "kill":
            author.kill(key, environment, **given)
        case "unkill":
            author.unkill(key, environment, **given)
        case "put_rule":
            before = operation.get("before")
            return author.put_rule(key, environment, operation["rule"], before=before, **given)
        case "remove_rule":
            author.remove_rule(key, environment, operation["id"], **given)
        case "move_rule":
            before = operation.get("before")
            author.move_rule(key, environment, operation["id"], before=before, **given)
        case name:
            author.set_tag(key, operation["tag"], present=name == "add_tag", **given)
    return None


def _on_segment(workspace: Workspace, key: str, operation: Mapping[str, Any], new_id: NewId) -> str | None:
    author = SegmentAuthor(workspace, new_id=new_id, path=_PATHS.get(operation["op"], ""))
    given: dict[str, Any] = {"if_match": operation.get("if_match")}
    by_name: dict[str, Callable[[], str | None]] = {
        "create": lambda: author.create(key, operation["value"]),
        "patch": lambda: author.patch(key, operation["patch"], **given),
        "delete": lambda: author.delete(key, **given),
        "put_rule": lambda: author.put_rule(key, operation["rule"], before=operation.get("before"), **given),
        "remove_rule": lambda: author.remove_rule(key, operation["id"], **given),
        "move_rule": lambda: author.move_rule(key, operation["id"], before=operation.get("before"), **given),
        "add_member": lambda: author.change_members(key, add=[operation["member"]], **given),
        "remove_member": lambda: author.change_members(key, remove=[operation["member"]], **given),
    }
    return by_name[operation["op"]]()
