"""What an access key looks like, and what of it is stored.

``vxa_<id>_<secret>`` (admin), ``vxs_…`` (server), ``vxc_…`` (client). The id is public: it names the key in lists, in
the history and in logs. Only a hash of the whole text is stored. A plain SHA-256 is enough, because the secret is 256
random bits: there is no dictionary to try, and a slow hash would only let strangers spend our time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final, NamedTuple

from vexil.crdt.schema import KEY, NAME_BYTES_MAX, is_name
from vexil.node.api.limits import KEY_CHARACTERS_MAX
from vexil.node.seams import Entropy

ADMIN: Final = "admin"
SERVER: Final = "server"
CLIENT: Final = "client"
PREFIXES: Final[Mapping[str, str]] = {ADMIN: "vxa_", SERVER: "vxs_", CLIENT: "vxc_"}
_KINDS: Final = {prefix: kind for kind, prefix in PREFIXES.items()}
_PREFIX_CHARACTERS: Final = 4

ID_BYTES: Final = 6
SECRET_BYTES: Final = 32
SECRET_CHARACTERS_MIN: Final = 24
"""Of a key that an operator makes up himself: it has to be random, see above."""

_SECRET: Final = re.compile(r"[A-Za-z0-9_.~+/=-]+", re.ASCII)


class Presented(NamedTuple):
    """A text that has the form of a key."""

    kind: str
    id: str
    secret: str


class NewKey(NamedTuple):
    """A key at its birth: ``text`` is shown once and kept nowhere."""

    text: str
    id: str
    hash: str


def parse(text: str) -> Presented | None:
    """The parts of ``text``; None if it has not the form of a key."""
    kind = _KINDS.get(text[:_PREFIX_CHARACTERS])
    if kind is None or len(text) > KEY_CHARACTERS_MAX:
        return None
    key_id, _, secret = text[_PREFIX_CHARACTERS:].partition("_")
    if not is_name(key_id, bytes_max=NAME_BYTES_MAX[KEY]) or not _SECRET.fullmatch(secret):
        return None
    return Presented(kind, key_id, secret)


def hash_of(text: str) -> str:
    """What is stored of a key, and compared: hex of the SHA-256 of its whole text, so kind and id are bound to it."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def new_key(kind: str, entropy: Entropy, *, taken: Callable[[str], bool]) -> NewKey:
    """A key of ``kind`` with an id for which ``taken`` says no."""
    while True:
        key_id = entropy.token_bytes(ID_BYTES).hex()
        if not taken(key_id):
            break
    text = f"{PREFIXES[kind]}{key_id}_{entropy.token_bytes(SECRET_BYTES).hex()}"
    return NewKey(text, key_id, hash_of(text))


def record(
    *,
    kind: str,
    hash_hex: str,
    role: str | None = None,
    project: str | None = None,
    environment: str | None = None,
    name: str = "",
) -> dict[str, object]:
    """What is written of a key. ``project`` None: all projects (admin keys only)."""
    return {
        "kind": kind,
        "role": role,
        "project": project,
        "environment": environment,
        "name": name,
        "hash": hash_hex,
    }
