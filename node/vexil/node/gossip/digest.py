"""One short hash a project that says: same vector, same pasts, same state."""

from __future__ import annotations

from hashlib import blake2b

from vexil.node.project import Project

DIGEST_BYTES = 12


def project_hash(project: Project) -> bytes:
    """Equal at two nodes iff vector, chain heads and root hash are (kept until the project changes)."""
    applied = project.changes_applied
    if project.digest_cache is None or project.digest_cache[0] != applied:
        told = f"{project.replica.vv_hash()}{project.replica.root_hash()}"
        project.digest_cache = (applied, blake2b(told.encode(), digest_size=DIGEST_BYTES).digest())
    return project.digest_cache[1]
