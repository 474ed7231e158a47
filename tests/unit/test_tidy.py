"""The house rules that no linter knows, checked on every file that belongs to the project."""

from __future__ import annotations

import ast
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOTS = ("crdt", "sdk", "node", "chaos")
PACKAGES = tuple(ROOT / root / "vexil" / root for root in ROOTS)

SOURCE_LINES_MAX = 600
GIT_TIMEOUT_S = 60
# Only used where there is no git: what a checkout never has.
NOT_OURS = {
    ".git",
    ".hypothesis",
    ".import_linter_cache",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".venv",
    ".venv-bench",
    ".venv-lock",
    ".vexil",
    "__pycache__",
    "build",
    "chaos-artefacts",
    "dist",
}

# Put together here, so that this file does not name them itself.
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
        ("repo", "maven", "apache", "org"),
        ("repo1", "maven", "org"),
        ("deb", "debian", "org"),
    )
)
UNFINISHED = tuple(first + rest for first, rest in (("TO", "DO"), ("FIX", "ME"), ("XX", "X ")))


@cache
def project_files() -> tuple[Path, ...]:
    """Every file that is or would be committed."""
    if shutil.which("git") and (ROOT / ".git").exists():
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=GIT_TIMEOUT_S,
        )
        paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    else:
        paths = [path for path in ROOT.rglob("*") if not NOT_OURS.intersection(path.relative_to(ROOT).parts)]
    return tuple(sorted(path for path in paths if path.is_file()))


@cache
def project_texts() -> dict[str, str]:
    """The text files of the project by their path; binary files are left out."""
    texts = {}
    for path in project_files():
        data = path.read_bytes()
        if b"\0" not in data:
            texts[path.relative_to(ROOT).as_posix()] = data.decode(errors="replace")
    return texts


def python_texts() -> dict[str, str]:
    return {name: text for name, text in project_texts().items() if name.endswith(".py")}


def package_texts() -> dict[str, str]:
    prefixes = tuple(f"{root}/" for root in ROOTS)
    return {name: text for name, text in python_texts().items() if name.startswith(prefixes)}


def test_the_files_of_the_project_are_found() -> None:
    assert "tests/unit/test_tidy.py" in python_texts()
    assert "node/vexil/node/entry.py" in package_texts()


@pytest.mark.parametrize("root", ROOTS)
def test_no_root_hides_the_others_with_an_init(root: str) -> None:
    assert not (ROOT / root / "vexil" / "__init__.py").exists()


@pytest.mark.parametrize("package", PACKAGES, ids=ROOTS)
def test_every_package_is_marked_as_typed(package: Path) -> None:
    assert (package / "py.typed").is_file()
    assert (package / "__init__.py").is_file()


def test_every_folder_of_modules_is_a_package() -> None:
    # Else the wheel has its modules and nobody walks over them; and tests of the same name would collide.
    folders = {(ROOT / name).parent for name in python_texts() if name.startswith((*ROOTS, "tests/"))}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_every_module_says_what_it_is_for() -> None:
    assert [name for name, text in python_texts().items() if not ast.get_docstring(ast.parse(text))] == []


def test_no_module_is_a_drawer_for_leftovers() -> None:
    drawers = {"util", "utils", "helper", "helpers", "misc", "common"}
    names = [Path(name) for name in python_texts()]
    assert [str(path) for path in names if drawers.intersection((*path.parts[:-1], path.stem))] == []


def test_every_source_file_can_be_held_in_the_head() -> None:
    lengths = {name: len(text.splitlines()) for name, text in package_texts().items()}
    assert {name: lines for name, lines in lengths.items() if lines > SOURCE_LINES_MAX} == {}


def test_no_file_names_a_package_registry() -> None:
    # The project is installed through whatever registry or mirror its user has set up.
    found = {
        name: [host for host in REGISTRY_HOSTS if host in text] for name, text in project_texts().items()
    }
    assert {name: hosts for name, hosts in found.items() if hosts} == {}


def test_no_file_leaves_a_note_of_unfinished_work() -> None:
    found = {name: [mark for mark in UNFINISHED if mark in text] for name, text in python_texts().items()}
    assert {name: marks for name, marks in found.items() if marks} == {}


def test_no_line_of_python_has_a_tab_or_ends_in_a_space() -> None:
    lines = [
        f"{name}:{number}"
        for name, text in python_texts().items()
        for number, line in enumerate(text.split("\n"), start=1)
        if "\t" in line or line != line.rstrip()
    ]
    assert lines == []


def test_every_text_file_ends_its_last_line() -> None:
    ours = {
        name: text
        for name, text in project_texts().items()
        if Path(name).suffix in {".py", ".toml", ".md", ".sh"}
    }
    assert [name for name, text in ours.items() if text and not text.endswith("\n")] == []
