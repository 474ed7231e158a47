"""Changes of one flag or segment, one function per call of the API.

``if_match`` is the header as it came, None if there was none. Bodies are decoded JSON of any shape.
"""

from __future__ import annotations

from vexil.crdt.schema import SEGMENT
from vexil.node.authoring.flags import FlagAuthor
from vexil.node.authoring.intent import Intent
from vexil.node.authoring.json_data import Mistakes
from vexil.node.authoring.limits import FLAGS_MAX
from vexil.node.authoring.segments import SegmentAuthor
from vexil.node.authoring.view import NewId, View
from vexil.node.authoring.workspace import Workspace


def create_flag(view: View, body: object, *, new_id: NewId, flags_max: int = FLAGS_MAX) -> Intent:
    """``POST /flags``: a new flag from its JSON. Raises Exists, Invalid, LimitExceeded."""
    workspace = Workspace(view, flags_max=flags_max)
    FlagAuthor(workspace, new_id=new_id).create(body)
    return workspace.intent()


def patch_flag(view: View, key: str, patch: object, *, new_id: NewId, if_match: str | None = None) -> Intent:
    """``PATCH /flags/{key}``: RFC 7396. Empty if nothing differs.

    Raises NotFound, Stale, Invalid, VariantInUse, PreconditionRequired (``kill: false`` without ``if_match``),
    Malformed, LimitExceeded.
    """
    workspace = Workspace(view)
    FlagAuthor(workspace, new_id=new_id).patch(key, patch, if_match=if_match)
    return workspace.intent()


def delete_flag(view: View, key: str, *, if_match: str | None = None) -> Intent:
    """``DELETE /flags/{key}``: every generation that is alive here. Raises NotFound, Stale, Malformed, InUse."""
    workspace = Workspace(view)
    FlagAuthor(workspace, new_id=_no_id).delete(key, if_match=if_match)
    return workspace.intent()


def kill_flag(view: View, key: str, environment: str, *, if_match: str | None = None) -> Intent:
    """``POST …/kill``: never empty. Raises NotFound, Stale, Malformed, Invalid (unknown environment)."""
    workspace = Workspace(view)
    FlagAuthor(workspace, new_id=_no_id).kill(key, environment, if_match=if_match)
    return workspace.intent()


def unkill_flag(view: View, key: str, environment: str, *, if_match: str | None) -> Intent:
    """``POST …/unkill``: empty if it is not killed here. Raises PreconditionRequired, and what `kill_flag` raises."""
    workspace = Workspace(view)
    FlagAuthor(workspace, new_id=_no_id).unkill(key, environment, if_match=if_match)
    return workspace.intent()


def put_segment(view: View, key: str, body: object, *, new_id: NewId, if_match: str | None = None) -> Intent:
    """``PUT /segments/{s}``: create or replace. Raises Stale, Invalid, Malformed, LimitExceeded."""
    workspace = Workspace(view)
    SegmentAuthor(workspace, new_id=new_id).put(key, body, if_match=if_match)
    return workspace.intent()


def patch_segment(
    view: View, key: str, patch: object, *, new_id: NewId, if_match: str | None = None
) -> Intent:
    """``PATCH /segments/{s}``: RFC 7396. Raises NotFound, Stale, Invalid, Malformed, LimitExceeded."""
    workspace = Workspace(view)
    SegmentAuthor(workspace, new_id=new_id).patch(key, patch, if_match=if_match)
    return workspace.intent()


def delete_segment(view: View, key: str, *, if_match: str | None = None) -> Intent:
    """``DELETE /segments/{s}``. Raises NotFound, Stale, Malformed."""
    workspace = Workspace(view)
    SegmentAuthor(workspace, new_id=_no_id).delete(key, if_match=if_match)
    return workspace.intent()


def change_members(view: View, key: str, body: object, *, if_match: str | None = None) -> Intent:
    """``POST /segments/{s}/members`` with ``{"add": […], "remove": […]}``.

    Raises NotFound, Stale, Invalid, Malformed, LimitExceeded (also of what one change can hold: send them in parts).
    """
    mistakes = Mistakes(SEGMENT)
    members = mistakes.mapping("", body)
    mistakes.only("", members, frozenset(("add", "remove")))
    mistakes.refuse()
    workspace = Workspace(view)
    SegmentAuthor(workspace, new_id=_no_id).change_members(
        key, add=members.get("add"), remove=members.get("remove"), if_match=if_match
    )
    return workspace.intent()


def _no_id() -> str:
    raise AssertionError("only a rule needs a new id")
