"""The catalogue of what is planted: a new file is all that a new one needs, and no file is passed over."""

from __future__ import annotations

import importlib
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest

from vexil.chaos.planted import benign, bugs, rules
from vexil.chaos.planted.catalogue import BENIGN, PLANTED, SWITCHES, NotPlanted, planted_in
from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.chaos.planted.planting import mutants

BUG = """
from contextlib import nullcontext
from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.chaos.planted.planting import mutants
BUG = PlantedBug({number}, {name!r}, frozenset(), nullcontext)
"""
Make = Callable[..., ModuleType]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes a package of the given modules, as a folder or in an archive."""

    def package(*, zipped: bool = False, **modules: str) -> ModuleType:
        root = tmp_path / ("archive.zip" if zipped else "folder")
        files = {"__init__.py": '"""Made by a test."""\n', **{f"{n}.py": text for n, text in modules.items()}}
        if zipped:
            with zipfile.ZipFile(root, "w") as archive:
                for name, text in files.items():
                    archive.writestr(f"made_by_a_test/{name}", text)
        else:
            (root / "made_by_a_test").mkdir(parents=True)
            for name, text in files.items():
                (root / "made_by_a_test" / name).write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(str(root))
        return importlib.import_module("made_by_a_test")

    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "made_by_a_test"]:
        del sys.modules[name]


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "archive"])
def test_every_file_of_a_folder_is_found_in_the_order_of_numbers_and_names(make: Make, zipped: bool) -> None:
    package = make(
        zipped=zipped,
        a=BUG.format(number=10, name="ten"),
        b=BUG.format(number=2, name="two, second"),
        c=BUG.format(number=2, name="two, first"),
    )
    found = planted_in(package, "BUG", PlantedBug)
    assert [bug.name for bug in found] == ["two, first", "two, second", "ten"]


@pytest.mark.parametrize(
    "text", ["", "BUG = 'a text'\n", "SWITCH = 1\n"], ids=["empty", "no-bug", "a-switch"]
)
def test_a_file_that_plants_nothing_is_an_error(make: Make, text: str) -> None:
    package = make(a=BUG.format(number=1, name="one"), b=text)
    with pytest.raises(NotPlanted, match=r"made_by_a_test\.b"):
        planted_in(package, "BUG", PlantedBug)


def test_two_of_one_name_are_an_error(make: Make) -> None:
    package = make(a=BUG.format(number=1, name="one"), b=BUG.format(number=2, name="one"))
    with pytest.raises(NotPlanted, match="taken"):
        planted_in(package, "BUG", PlantedBug)


def test_an_empty_folder_is_an_error(make: Make) -> None:
    with pytest.raises(NotPlanted, match="empty"):
        planted_in(make(), "BUG", PlantedBug)


@pytest.mark.parametrize(
    ("package", "found"),
    [(bugs, PLANTED), (rules, SWITCHES), (benign, BENIGN)],
    ids=["bugs", "rules", "benign"],
)
def test_every_file_is_in_its_catalogue(package: ModuleType, found: tuple[object, ...]) -> None:
    assert package.__file__ is not None
    files = [path for path in Path(package.__file__).parent.glob("*.py") if path.name != "__init__.py"]
    assert len(found) == len(files)
    assert len(set(map(str, found))) == len(found)


def test_every_patch_is_gone_when_the_run_under_it_has_failed() -> None:
    class Failed(Exception):
        pass

    before = _patched()
    for planted in mutants().values():
        with suppress(Failed), planted.apply():
            raise Failed
        assert _patched() == before, f"{planted} is still there"


def _patched() -> dict[str, object]:
    """What patches put in the place of something else: attributes of our modules and of their classes."""
    found: dict[str, object] = {}
    for name, module in sorted(sys.modules.items()):
        if name.startswith(("vexil.crdt", "vexil.node", "vexil.chaos.world")):
            for attribute, value in vars(module).items():
                found[f"{name}.{attribute}"] = id(value)
                if isinstance(value, type):
                    found |= {f"{name}.{attribute}.{own}": id(v) for own, v in vars(value).items()}
    return found
