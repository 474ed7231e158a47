"""The environment of the peers, ``.venv-bench``: made when it is needed, from ``requirements-bench.lock``.

``make bench-peers`` makes it too. The one idea: a package that cannot be had here is missing from the table by name,
and takes none of the others with it.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
LOCK: Final = ROOT / "requirements-bench.lock"
FOLDER: Final = ROOT / ".venv-bench"
INSTALL_TIMEOUT_S: Final = 300


def peers_python() -> Path:
    """The interpreter of the peers' environment, which is up to date with the lock file and this Python."""
    python = FOLDER / "bin" / "python"
    ready, wanted = FOLDER / ".ready", _wanted()
    if python.exists() and ready.exists() and ready.read_text(encoding="utf-8") == wanted:
        return python
    print(f"installing the peers into {FOLDER.name}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(FOLDER)], check=True)
    if _install(python, LOCK):
        ready.write_text(wanted, encoding="utf-8")
    else:  # and not ready: the next time may be better
        _install_one_by_one(python)
    return python


def _wanted() -> str:
    lock = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    return f"{platform.python_implementation()} {platform.python_version()} {lock}\n"


def _install_one_by_one(python: Path) -> None:
    """The lock file names every package with its version: each can be installed by itself."""
    single = FOLDER / "single.lock"
    for block in blocks(LOCK.read_text(encoding="utf-8")):
        single.write_text(block, encoding="utf-8")
        if not _install(python, single, "--no-deps"):
            print(f"cannot be installed here: {block.split()[0]}", flush=True)


def blocks(lock: str) -> list[str]:
    """The packages of a lock file, each with its hashes."""
    found: list[str] = []
    for line in lock.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            if line[0].isspace():
                found[-1] += f"\n{line}"
            else:
                found.append(line)
    return found


def _install(python: Path, lock: Path, *options: str) -> bool:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    command += ["--require-hashes", *options, "--requirement", str(lock)]
    try:
        return subprocess.run(command, check=False, timeout=INSTALL_TIMEOUT_S).returncode == 0
    except subprocess.TimeoutExpired:
        return False


if __name__ == "__main__":
    peers_python()
