"""The keys of a local cluster, kept in ``keys.json``: only hashes are in the cluster, so this file is the only copy.

The one idea: a key is on the disk before anybody is told of it. The owner key is made here, before the first node
starts; the others are written down the moment the cluster has made them.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from vexil.node.dev.errors import FolderUnsuitable
from vexil.node.dev.private_file import write_private

KEYS_FILE = "keys.json"
OWNER_PREFIX = "vxa_owner_"
"""Kind and id; the id is public."""
OWNER_BYTES = 32


class Credentials:
    """The keys by kind: ``admin``, ``server``, ``client``."""

    def __init__(self, path: Path, keys: dict[str, str]) -> None:
        self._path = path
        self._keys = keys

    @classmethod
    def open(cls, data: Path) -> Credentials:
        """The keys of the folder; the owner key is made when it is not there. Raises FolderUnsuitable."""
        path = data / KEYS_FILE
        keys: dict[str, str] = {}
        if path.exists():
            try:
                keys = {
                    str(kind): str(key) for kind, key in json.loads(path.read_text(encoding="utf-8")).items()
                }
            except (OSError, ValueError, AttributeError) as error:
                raise FolderUnsuitable(f"{path} cannot be read: {error}") from error
        credentials = cls(path, keys)
        if "admin" not in keys:
            credentials.keep("admin", OWNER_PREFIX + secrets.token_hex(OWNER_BYTES))
        return credentials

    @property
    def owner(self) -> str:
        """The owner key of the cluster."""
        return self._keys["admin"]

    def get(self, kind: str) -> str | None:
        """The key of ``kind``, if there is one."""
        return self._keys.get(kind)

    def keep(self, kind: str, key: str) -> None:
        """Write ``key`` down; it is on the disk on return."""
        self._keys[kind] = key
        write_private(self._path, json.dumps(self._keys, indent=2) + "\n")

    def all(self) -> dict[str, str]:
        """Every key by kind."""
        return dict(self._keys)
