"""Authoring: from what someone wants to the cells to write, decided against one state.

Everything here is a pure function of the project's state and the request: it answers with an `Intent`, or raises an
`ApiError` (`vexil.node.errors`) and nothing else, whatever the request holds. It never waits, and it writes nothing;
so the engine can decide at the very moment at which the change gets its place in the order.

=================== ==============================================================================
`intent`            what comes out
`view`              what goes in: one project's state
`sheet`             the working copy of one flag or segment, and the minimal set of writes
`workspace`         the sheets of one change
`flags`, `segments` what can be done to one of them
`change_set`        several of those, atomically
`if_match`          what an author has seen
`conflict_choice`   an author's answer to a conflict
`flagd_import`      a flagd document as a row of changes
`settings`          projects, keys, and what a flagd document has beside its flags
=================== ==============================================================================
"""

from __future__ import annotations

from vexil.node.authoring.change_set import ChangeSet, change_set, message_of
from vexil.node.authoring.conflict_choice import resolve_conflict
from vexil.node.authoring.flagd_import import FlagdImport, ImportChange, Outcome
from vexil.node.authoring.if_match import etag_of
from vexil.node.authoring.intent import Intent
from vexil.node.authoring.settings import create_key, put_flagd_part, put_project, revoke_key
from vexil.node.authoring.single import (
    change_members,
    create_flag,
    delete_flag,
    delete_segment,
    kill_flag,
    patch_flag,
    patch_segment,
    put_segment,
    unkill_flag,
)
from vexil.node.authoring.view import NewId, View

__all__ = [
    "ChangeSet",
    "FlagdImport",
    "ImportChange",
    "Intent",
    "NewId",
    "Outcome",
    "View",
    "change_members",
    "change_set",
    "create_flag",
    "create_key",
    "delete_flag",
    "delete_segment",
    "etag_of",
    "kill_flag",
    "message_of",
    "patch_flag",
    "patch_segment",
    "put_flagd_part",
    "put_project",
    "put_segment",
    "resolve_conflict",
    "revoke_key",
    "unkill_flag",
]
