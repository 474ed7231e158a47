"""Who is calling, and what he may do: a key's record, read from the node's own state on every request.

The one idea: nothing is remembered that a revocation would have to find. The state is in memory, so each request
looks its key up there; what is cached is only the reading of a record, and it is dropped as soon as the state has
another one.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.crdt.system_state import KeyState
from vexil.node import errors
from vexil.node.api import access_keys
from vexil.node.api.access_keys import ADMIN, CLIENT, SERVER

VIEWER: Final = "viewer"
EDITOR: Final = "editor"
OWNER: Final = "owner"
ROLES: Final = (VIEWER, EDITOR, OWNER)
_RANK: Final = {role: rank for rank, role in enumerate(ROLES)}
_NO_HASH: Final = "0" * 64

KeyStates = Callable[[], Mapping[str, KeyState]]


@dataclass(frozen=True, slots=True)
class Caller:
    """A valid key. ``project`` is None for an admin key of all projects; ``role`` is "" for other kinds."""

    id: str
    kind: str
    role: str
    project: str | None
    environment: str | None
    name: str
    hash: str

    @property
    def author(self) -> str:
        """How this caller signs what he writes: the name for people, the id because names may be given twice."""
        return f"{self.name} ({self.id})" if self.name else self.id

    def may(self, role: str, project: str | None) -> bool:
        """Whether an admin key has at least ``role`` in ``project`` (None: in all of them)."""
        if self.kind != ADMIN or _RANK[self.role] < _RANK[role]:
            return False
        # The system project holds everybody's keys: a role in one project says nothing about it.
        return self.project is None or (self.project == project and project != SYSTEM_PROJECT)

    def sees(self, project: str) -> bool:
        """Whether the project may be named to this caller."""
        return self.may(VIEWER, project)


class Authenticator:
    """Finds the caller of a request."""

    def __init__(self, keys: KeyStates, *, cached_max: int) -> None:
        """``keys`` gives the state of every key by its id, as of now."""
        self._keys = keys
        self._cached_max = cached_max
        self._cached: OrderedDict[str, tuple[KeyState, Caller | None]] = OrderedDict()

    def caller(self, authorization: str | None, api_key: str | None) -> Caller:
        """The caller who sent these headers. Raises KeyInvalid, which does not say what was wrong."""
        text = _bearer(authorization)
        if text is None:
            text = api_key
        presented = access_keys.parse(text) if text else None
        if text is None or presented is None:
            raise errors.KeyInvalid
        found = self._known(presented.id)
        # The hash covers the whole text, so kind and id are right if it is. It is compared also where there is
        # nothing to compare with: an unknown id takes as long as a wrong secret.
        same = hmac.compare_digest(access_keys.hash_of(text), _NO_HASH if found is None else found.hash)
        if found is None or not same:
            raise errors.KeyInvalid
        return found

    def holds(self, caller: Caller) -> bool:
        """Whether a caller who was found before would be found now: his key is not revoked, nor another one."""
        return self._known(caller.id) == caller

    def known(self, key_id: str) -> Caller | None:
        """Whoever the key ``key_id`` stands for, for what this node has signed for it; None if it is revoked."""
        return self._known(key_id)

    def _known(self, key_id: str) -> Caller | None:
        state = self._keys().get(key_id)
        if state is None:
            return None
        cached = self._cached.get(key_id)
        if cached is None or cached[0] is not state:
            cached = (state, read_caller(key_id, state))
            self._cached[key_id] = cached
            if len(self._cached) > self._cached_max:
                self._cached.popitem(last=False)
        return cached[1]


def read_caller(key_id: str, state: KeyState) -> Caller | None:
    """What the key ``key_id`` allows; None if it is revoked or its record makes no sense."""
    if state.revoked or state.record is None:
        return None
    record = state.record
    kind, role, project = record.get("kind"), record.get("role"), record.get("project")
    environment, name, digest = record.get("environment"), record.get("name"), record.get("hash")
    if kind not in {ADMIN, SERVER, CLIENT} or not isinstance(digest, str) or not digest.isascii():
        return None
    if project is not None and not isinstance(project, str):
        return None
    if kind == ADMIN:
        if role not in _RANK:
            return None
        environment = None
    else:
        # A key for reading stands for exactly one environment.
        if project is None or not isinstance(environment, str):
            return None
        role = ""
    name = name if isinstance(name, str) else ""
    return Caller(key_id, str(kind), str(role), project, environment, name, digest)


def _bearer(authorization: str | None) -> str | None:
    if authorization is None:
        return None
    scheme, _, text = authorization.partition(" ")
    return text.strip() if scheme.lower() == "bearer" else None
