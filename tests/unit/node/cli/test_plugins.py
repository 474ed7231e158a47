"""Commands of other packages: found, run, and when one cannot be loaded, said so by itself alone."""

from __future__ import annotations

import json
import sys
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner, Result

from vexil.node.cli.options import Command
from vexil.node.cli.output import say
from vexil.node.cli.plugins import ENTRY_POINTS, ExtensibleGroup

MODULE = "a_plug_in_of_the_tests"


@click.command("fly", cls=Command)
def fly() -> None:
    """Leave the ground."""
    say("it flies")


@click.command("own", cls=Command)
def own() -> None:
    """What the group has itself."""
    say("its own")


class Packaged(Distribution):
    """A distribution of which only the name is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def read_text(self, filename: str) -> str | None:
        return None

    def locate_file(self, path: object) -> Path:
        raise FileNotFoundError(path)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Where plug-ins of these tests live."""
    made = ModuleType(MODULE)
    made.__dict__.update({"fly": fly, "own": fly, "number": 7})
    monkeypatch.setitem(sys.modules, MODULE, made)
    return made


def point(name: str, value: str, distribution: str = "") -> EntryPoint:
    found = EntryPoint(name, value, ENTRY_POINTS)
    if distribution:
        vars(found)["dist"] = Packaged(distribution)
    return found


def run(points: list[EntryPoint], *arguments: str) -> Result:
    group = ExtensibleGroup("vexil", points=lambda: points)
    group.add_command(own)
    return CliRunner().invoke(group, list(arguments))


def test_a_plug_in_is_a_command_like_any_other(module: ModuleType) -> None:
    points = [point("fly", f"{MODULE}:fly")]
    assert run(points, "fly").stdout == "it flies\n"
    listed = run(points, "--help").stdout
    assert "fly  Leave the ground." in listed
    assert "own  What the group has itself." in listed


def test_a_plug_in_does_not_replace_a_command_of_ours(module: ModuleType) -> None:
    assert run([point("own", f"{MODULE}:own")], "own").stdout == "its own\n"


def test_a_missing_extra_is_named_only_when_the_command_is_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "needs_more.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    points = [point("fly", "needs_more:fly", "vexil")]
    assert run(points, "own").exit_code == 0
    assert run(points, "--help").exit_code == 0
    result = run(points, "fly", "sim", "--seeds", "0..9")
    assert result.exit_code == 1
    assert "the command 'fly' cannot be loaded" in result.stderr
    assert "not_installed_anywhere" in result.stderr
    assert "pip install 'vexil[fly]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_broken_plug_in_says_where_it_broke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "is_broken.py").write_text("\n\nraise ValueError('no wings')\n")
    monkeypatch.syspath_prepend(tmp_path)
    result = run([point("fly", "is_broken:fly", "somebody-else")], "fly", "--help")
    assert result.exit_code == 1
    assert "ValueError: no wings" in result.stderr
    assert "is_broken.py, line 3" in result.stderr
    assert "it comes with somebody-else, which is not part of Vexil" in result.stderr


def test_a_missing_module_of_ours_is_no_missing_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "lost_ours.py").write_text("import vexil.there_is_none\n")
    monkeypatch.syspath_prepend(tmp_path)
    result = run([point("fly", "lost_ours:fly", "vexil")], "fly")
    assert "vexil.there_is_none" in result.stderr
    assert "pip install" not in result.stderr


def test_what_is_no_command_is_refused(module: ModuleType) -> None:
    result = run([point("fly", f"{MODULE}:number")], "fly")
    assert result.exit_code == 1
    assert f"{MODULE}:number is no command" in result.stderr


def test_the_failure_is_json_if_that_was_asked_for(module: ModuleType) -> None:
    result = run([point("fly", f"{MODULE}:absent")], "fly", "--json")
    assert "absent" in json.loads(result.stderr)["detail"]
