"""The disk snapshot: a flag set as the bytes of one file, and back.

Three lines: ``vexil-flag-set 1 <SHA-256 of the rest>``, what is known of the set, the set as ``/sdk/v1/flags`` gives
it. A file that is cut short, damaged, of another format or made with another access key is ``Nonsense``, never half a
set.

The one idea: whoever reads it must be sure that it is whole and his own. The key stands in it as a fingerprint only;
with another key it could be another environment's, and the wrong flags are worse than none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import trio

from vexil.sdk.client.messages import Nonsense, json_object, whole_set
from vexil.sdk.client.state import Held
from vexil.sdk.client.tokens import is_sendable
from vexil.sdk.documents import flag_set_document

_MAGIC: Final = b"vexil-flag-set "
_FORMAT: Final = b"1"
_FINGERPRINT_CHARACTERS: Final = 16
_SECONDS_MAX: Final = 2**53
"""What is later is no moment."""
_DOCUMENTS_AT_ONCE: Final = 100
"""Encoded in one go: other threads want the interpreter too."""


def fingerprint(key: str) -> str:
    """What a file keeps of an access key: enough to know it again, useless to whoever finds the file."""
    return hashlib.sha256(b"vexil snapshot\0" + key.encode()).hexdigest()[:_FINGERPRINT_CHARACTERS]


async def encode(held: Held, *, key: str) -> bytes:
    """The bytes of a snapshot of ``held``. Gives way to others while it works."""
    known = {"key": fingerprint(key), "token": held.token, "confirmed_at_s": held.confirmed_at_s}
    parts = [_json(known), b"\n{"]
    for number, (name, value) in enumerate(flag_set_document(held.flag_set).items()):
        parts += [b"," if number else b"", _json(name), b":"]
        if name in {"flags", "segments"}:
            await _encode_members(value, parts)
        else:
            parts.append(_json(value))
    parts.append(b"}\n")
    rest = b"".join(parts)
    return b"%s%s %s\n%s" % (_MAGIC, _FORMAT, hashlib.sha256(rest).hexdigest().encode(), rest)


def decode(data: bytes, *, key: str) -> Held:
    """The set of a snapshot that was made with ``key``. Raises Nonsense."""
    first, _, rest = data.partition(b"\n")
    if not first.startswith(_MAGIC):
        raise Nonsense("no snapshot of a flag set")
    form, _, digest = first.removeprefix(_MAGIC).partition(b" ")
    if form != _FORMAT:
        raise Nonsense("of a format that this version does not know")
    if hashlib.sha256(rest).hexdigest().encode() != digest:
        raise Nonsense("damaged: its checksum does not fit")
    line, _, body = rest.partition(b"\n")
    known = json_object(line)
    if known.get("key") != fingerprint(key):
        raise Nonsense("made with another access key")
    token, at_s = known.get("token"), known.get("confirmed_at_s")
    return Held(
        flag_set=whole_set(json_object(body)),
        source="disk",
        token=token if is_sendable(token) else None,
        confirmed_at_s=float(at_s) if isinstance(at_s, int | float) and 0 <= at_s < _SECONDS_MAX else None,
    )


def decode_bootstrap(data: bytes, *, key: str) -> Held:
    """The set of a bootstrap file: the answer of ``/sdk/v1/flags``, or a snapshot. Raises Nonsense."""
    if data.startswith(_MAGIC):
        return decode(data, key=key)
    return Held(flag_set=whole_set(json_object(data)), source="bootstrap")


async def _encode_members(documents: Mapping[str, Any], parts: list[bytes]) -> None:
    parts.append(b"{")
    for number, (name, document) in enumerate(documents.items()):
        parts += [b"," if number else b"", _json(name), b":", _json(document)]
        if number % _DOCUMENTS_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
    parts.append(b"}")


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
