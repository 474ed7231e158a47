"""Builds the wheel and tries it twice: alone (the SDK), and with the extras ``node``, ``openfeature`` and ``chaos``.

The tests run on the source tree, where a file that the wheel forgets is still there and every dependency is
installed. Here neither is: each environment has the wheel and what the wheel asks for, at the versions of
``requirements.lock``. Run by ``make wheel-test``; exits with 1 and one sentence at the first thing that is wrong.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("vexil.crdt", "vexil.sdk", "vexil.node", "vexil.chaos")
PROVIDER = "vexil.sdk.openfeature"
"""Needs the extra ``openfeature``."""
COMMAND_TIMEOUT_S = 300

# Imports the modules named on standard input; answers with the errors and with the modules loaded from elsewhere.
_IMPORT_ALL = """
import importlib, json, sys, sysconfig, traceback
site = sysconfig.get_path("purelib")
errors = {}
for name in json.load(sys.stdin):
    try:
        module = importlib.import_module(name)
    except Exception:
        errors[name] = traceback.format_exc()
    else:
        if not module.__file__.startswith(site):
            errors[name] = "loaded from " + module.__file__
print(json.dumps({"errors": errors, "loaded": sorted(sys.modules)}))
"""


class WheelError(Exception):
    """The wheel is not what it should be; the message says how."""


def main() -> int:
    """Run all checks; 0 when all hold."""
    with tempfile.TemporaryDirectory(prefix="vexil-wheel-") as folder:
        try:
            _check_all(Path(folder))
        except WheelError as error:
            print(f"wheel-test: {error}", file=sys.stderr)
            return 1
    return 0


def _check_all(work: Path) -> None:
    wheel = _build(work / "dist")
    modules = _modules_of(wheel)
    constraints = work / "constraints.txt"
    constraints.write_text(_without_hashes((ROOT / "requirements.lock").read_text()))

    alone = _Environment(work / "alone", f"{wheel}", constraints)
    sdk = [name for name in modules if name.startswith("vexil.sdk") and not name.startswith(PROVIDER)]
    loaded = alone.import_all(sdk)
    strangers = sorted(
        name for name in loaded if name.startswith(("vexil.crdt", "vexil.node", "vexil.chaos"))
    )
    _require(not strangers, f"the SDK loads modules of other packages: {strangers}")
    print(f"wheel-test: alone: {len(sdk)} modules of vexil.sdk imported")

    status, output = alone.run("vexil")
    _require(
        status == 1 and "pip install 'vexil[node]'" in output and "Traceback" not in output,
        f"without extras `vexil` should name the missing extra and exit with 1; it exited with {status}: {output}",
    )
    print(f"wheel-test: alone: {output.strip()}")

    full = _Environment(work / "full", f"{wheel}[node,openfeature,chaos]", constraints)
    full.import_all(modules)
    print(f"wheel-test: with extras: {len(modules)} modules imported")

    status, output = full.run("vexil", "--help")
    _require(status == 0 and "Usage" in output, f"`vexil --help` exited with {status}: {output}")
    print("wheel-test: with extras: `vexil --help` answers")

    # A world in the wheel: its workers and every module that they name by a string are there.
    status, output = full.run("vexil", "chaos", "sim", "--seeds", "1")
    _require(status == 0 and "0 failed" in output, f"`vexil chaos sim` exited with {status}: {output}")
    print("wheel-test: with extras: `vexil chaos sim` runs")


def _build(target: Path) -> Path:
    # Not isolated: hatchling comes from requirements.lock, and nothing is fetched.
    _must([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(ROOT)])
    wheels = sorted(target.glob("*.whl"))
    _require(len(wheels) == 1, f"expected one wheel, built {wheels}")
    return wheels[0]


def _modules_of(wheel: Path) -> list[str]:
    """Every module in the wheel by its file, so that a folder without ``__init__.py`` is not passed over.

    ``__main__`` modules are programs: importing them would run them.
    """
    with zipfile.ZipFile(wheel) as archive:
        files = [Path(name) for name in archive.namelist()]
    foreign = sorted(
        {path.parts[0] for path in files if path.parts[0] != "vexil" and ".dist-info" not in str(path)}
    )
    _require(not foreign, f"the wheel puts {foreign} beside the package vexil")
    _require(
        Path("vexil/__init__.py") not in files,
        "vexil/__init__.py would hide the other packages of the namespace",
    )
    for package in PACKAGES:
        marker = Path(*package.split("."), "py.typed")
        _require(marker in files, f"the wheel has no {marker}")
    sources = [path for path in files if path.suffix == ".py" and path.stem != "__main__"]
    return sorted(".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in sources)


class _Environment:
    """A clean virtual environment with one requirement installed; commands run outside of the source tree."""

    def __init__(self, folder: Path, requirement: str, constraints: Path) -> None:
        venv.create(folder, with_pip=True)
        self._bin = folder / "bin"
        self._folder = folder
        python = str(self._bin / "python")
        pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        _must([*pip, "install", "--constraint", str(constraints), requirement])
        _must([*pip, "check"])

    def import_all(self, modules: list[str]) -> list[str]:
        """Import each module in one fresh interpreter; returns what that interpreter then had loaded."""
        command = [str(self._bin / "python"), "-I", "-W", "error", "-c", _IMPORT_ALL]
        answer = json.loads(_must(command, cwd=self._folder, stdin=json.dumps(modules)))
        for name, error in answer["errors"].items():
            print(f"--- {name}\n{error}", file=sys.stderr)
        _require(not answer["errors"], f"modules that cannot be imported: {sorted(answer['errors'])}")
        return list(answer["loaded"])

    def run(self, script: str, *arguments: str) -> tuple[int, str]:
        """Run an installed script; its exit code, and its output and errors together."""
        done = subprocess.run(
            [str(self._bin / script), *arguments],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        return done.returncode, done.stdout


def _without_hashes(lock: str) -> str:
    """The pins of the lock file as constraints: with hashes pip would ask for one of the wheel itself too."""
    lines = [
        line.removesuffix("\\").rstrip()
        for line in lock.splitlines()
        if not line.lstrip().startswith(("#", "--"))
    ]
    return "\n".join(lines) + "\n"


def _must(command: list[str], cwd: Path | None = None, stdin: str = "") -> str:
    done = subprocess.run(
        command, cwd=cwd, input=stdin, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
    )
    _require(done.returncode == 0, f"{' '.join(command[:6])} … failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise WheelError(otherwise)


if __name__ == "__main__":
    sys.exit(main())
