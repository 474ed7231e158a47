"""The first key of a cluster that has none."""

from __future__ import annotations

from typing import Any, Final

from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node.api import access_keys
from vexil.node.api.access_keys import ADMIN, PREFIXES, SECRET_CHARACTERS_MIN
from vexil.node.api.auth import OWNER, read_caller
from vexil.node.api.keys import new_record
from vexil.node.api.port import Node
from vexil.node.authoring import Intent
from vexil.node.authoring.settings import create_key
from vexil.node.errors import Exists
from vexil.node.project import Project
from vexil.node.seams import Entropy

VARIABLE: Final = "VEXIL_BOOTSTRAP_KEY"
NAME: Final = "bootstrap"


class BootstrapKeyInvalid(Exception):
    """What ``VEXIL_BOOTSTRAP_KEY`` holds cannot be a key; the message is for the person who set it, without it."""


async def bootstrap_owner_key(
    node: Node, given: str | None, *, entropy: Entropy, generate: bool = False
) -> str | None:
    """Give the cluster its first owner key if no key can manage it: ``given``, or a generated one if ``generate``.

    Returns a generated key, to be shown once on the terminal and never logged; None in every other case. The same
    ``given`` at several nodes is one key. Raises BootstrapKeyInvalid, and ApiError if it cannot be written now.
    """
    if _has_owner(node):
        return None
    wanted: dict[str, Any] = {
        "kind": ADMIN,
        "role": OWNER,
        "project": None,
        "environment": None,
        "name": NAME,
    }
    generated: str | None = None
    if given:
        presented = access_keys.parse(given)
        if presented is None or presented.kind != ADMIN or len(presented.secret) < SECRET_CHARACTERS_MIN:
            raise BootstrapKeyInvalid(
                f"{VARIABLE} must be {PREFIXES[ADMIN]}<id>_<secret>, the secret being at least "
                f"{SECRET_CHARACTERS_MIN} random characters"
            )
        key_id = presented.id
        record = access_keys.record(hash_hex=access_keys.hash_of(given), **wanted)
    elif generate:
        key, record = new_record(node, wanted, entropy)
        key_id, generated = key.id, key.text
    else:
        return None

    def decide(system: Project) -> Intent:
        return create_key(system, key_id, record)

    try:
        await node.write(SYSTEM_PROJECT, decide, author=NAME, message="the cluster's first key")
    except Exists:
        # Made by another node a moment ago; or it was revoked, and then nothing brings it back.
        return None
    return generated


def _has_owner(node: Node) -> bool:
    callers = (read_caller(key_id, state) for key_id, state in node.directory.keys.items())
    return any(caller is not None and caller.may(OWNER, None) for caller in callers)
