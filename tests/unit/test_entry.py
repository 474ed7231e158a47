"""The console script says which extra is missing, and hides no mistake of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from vexil.node import entry

NODE_ROOT = Path(__file__).parents[2] / "node"
START_TIMEOUT_S = 60


def install_cli(monkeypatch: pytest.MonkeyPatch, needs: str | None = None, status: int | None = None) -> None:
    """Put a command line in place that imports ``needs`` when it runs and answers ``status``."""

    def run() -> int | None:
        if needs:
            __import__(needs)
        return status

    module = ModuleType("vexil.node.cli")
    module.__dict__["main"] = run
    monkeypatch.setitem(sys.modules, "vexil.node.cli", module)


def hide(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Make an import of ``module`` fail as if it were not installed."""
    monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.parametrize("status", [None, 0, 3])
def test_the_command_lines_exit_code_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, status: int | None
) -> None:
    install_cli(monkeypatch, status=status)
    assert entry.main() == status


@pytest.mark.parametrize("missing", ["trio", "vexillum_is_not_installed"])
def test_a_missing_dependency_becomes_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    hide(monkeypatch, missing)
    install_cli(monkeypatch, needs=missing)
    assert entry.main() == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        'vexil: the command line needs the extra "node": '
        f"pip install 'vexil[node]' (missing module: {missing})\n"
    )


@pytest.mark.parametrize("missing", ["vexil.node.cli", "vexil.node.engine", "vexil"])
def test_a_missing_module_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    install_cli(monkeypatch, needs=missing)
    hide(monkeypatch, missing)
    with pytest.raises(ModuleNotFoundError):
        entry.main()


def test_a_missing_module_of_the_standard_library_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install_cli(monkeypatch, needs="sqlite3")
    hide(monkeypatch, "sqlite3")
    with pytest.raises(ModuleNotFoundError):
        entry.main()


def test_a_name_that_cannot_be_imported_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("vexil.node.cli")

    def run() -> None:
        raise ImportError("cannot import name 'x' from 'trio'", name="trio")

    module.__dict__["main"] = run
    monkeypatch.setitem(sys.modules, "vexil.node.cli", module)
    with pytest.raises(ImportError, match="cannot import name"):
        entry.main()


def test_loading_it_needs_nothing_but_the_standard_library() -> None:
    # -I -S: no site-packages, no environment variables; only the source root is put on the path.
    code = f"import sys; sys.path.insert(0, {str(NODE_ROOT)!r}); import vexil.node.entry"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
