"""The laws of the house that can be read off the source."""

import ast
import importlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import triad
from triad.config.commands import GROUPS, list_commands, read_group, read_purpose
from triad.runs.directory import Run

SOURCE = Path(__file__).parents[1] / "src" / "triad"
FILES = sorted(SOURCE.rglob("*.py"))
UNSAYING = {"utils", "common", "base", "helpers", "misc", "core"}

# Which part of the house may import which: below a line stands only what is above it.
ABOVE_CONFIG = {"config", "storage"}
RUN = ABOVE_CONFIG | {"runs"}
COMPUTED = {"layers", "models", "optim", "schedules", "metrics"}
TRAINED = RUN | COMPUTED | {"hardware", "strategies", "data", "checkpoints"}
ARROWS = {
    "storage": set(),
    "layers": set(),
    "schedules": set(),
    "metrics": {"layers"},
    "models": {"layers"},
    "optim": {"layers"},
    "decoding": {"layers", "models", "data"},
    "config": {"storage"},
    "runs": ABOVE_CONFIG,
    "hardware": ABOVE_CONFIG | {"layers"},
    "strategies": {"layers", "models", "optim", "hardware", "config"},
    "data": {"schedules", "storage"},
    "checkpoints": RUN | {"strategies", "data"},
    "formats": {"checkpoints", "storage"},
    "tasks": {"layers", "models", "optim", "checkpoints", "metrics", "decoding", "data", "storage"},
    "augmentation": {"layers", "decoding", "data", "storage", "runs", "checkpoints"},
    "evaluation": TRAINED | {"metrics", "decoding", "tasks", "analysis"},
    "loggers": RUN,
    "analysis": RUN | {"loggers", "layers"},
    "callbacks": TRAINED | {"loggers", "tasks", "analysis"},
    "launch": RUN | {"checkpoints", "analysis", "schedules"},
    "api": TRAINED | {"decoding", "launch"},
    "claims": RUN | {"launch"},
    "verify": TRAINED | {"launch", "loggers", "analysis"},
    "sweep": TRAINED | {"launch", "loggers", "analysis"},
}
MAINS = {"__main__.py"}


@cache
def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_a_file_at_the_root_is_a_command_and_imported_by_nobody() -> None:
    commands = {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    for name in commands:
        assert f"run_command({name})" in (SOURCE / f"{name}.py").read_text(), (
            f"src/triad/{name}.py is no command"
        )
    for path in FILES:
        ours = {name.split(".")[1] for name in imports(path) if name.startswith("triad.")}
        assert not ours & commands, path


def test_every_command_declares_its_group_and_says_its_purpose_in_a_line() -> None:
    for name, file in list_commands().items():
        assert read_group(file) in GROUPS, f"{file}: GROUP is one of {', '.join(GROUPS)}"
        assert 10 < len(read_purpose(file)) < 64, name


def test_every_folder_is_a_part_with_a_row_of_arrows() -> None:
    parts = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert parts == ARROWS.keys()
    for part in parts:
        assert len([path for path in FILES if path.is_relative_to(SOURCE / part)]) > 3, part


def test_the_arrows_run_in_no_circle() -> None:
    left = {part: arrows - {part} for part, arrows in ARROWS.items()}
    while free := [part for part in left if not left[part] & left.keys()]:
        for part in free:
            del left[part]
    assert not left


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_hydra_stops_at_the_door(path: Path) -> None:
    if not path.is_relative_to(SOURCE / "config") and path != SOURCE / "launch" / "command.py":
        assert not [name for name in imports(path) if name.split(".")[0] in ("hydra", "omegaconf")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_follow_the_arrows(path: Path) -> None:
    part = path.relative_to(SOURCE).parts[0]
    if path.parent == SOURCE:
        return  # a command, which may import any part, and which nobody imports
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("triad.")}
    own = {part} | ({"config"} if path.name in ("refusals.py", *MAINS) else set())
    own |= {"runs"} if path.name in MAINS else set()
    assert ours <= ARROWS[part] | own


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.parent.name in ("layers", "models")], ids=lambda p: p.name
)
def test_layers_and_models_import_torch_and_each_other_only(path: Path) -> None:
    allowed = {"torch", "triad", "math", "collections", "contextlib", "typing", "functools"}
    assert {name.split(".")[0] for name in imports(path)} <= allowed
    assert not [name for name in imports(path) if "distributed" in name]


def test_packages_are_empty_and_names_say_something() -> None:
    for path in FILES:
        if path.name == "__init__.py" and path.parent != SOURCE:
            assert path.read_text() == "", path
        assert not UNSAYING & {part.removesuffix(".py") for part in path.relative_to(SOURCE).parts}, path


def test_the_files_of_a_run_are_named_in_one_place() -> None:
    run = Run("at")
    names = {path.name for path in vars(run).values() if isinstance(path, Path)} - {"at"}
    folders = {name for name in names if "." not in name}
    assert len(names) > 12
    for path in FILES:
        if path == SOURCE / "runs" / "directory.py":
            continue
        tree = ast.parse(path.read_text())
        said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
                named = {*re.split(r"[/\s]", node.value)} & (names - folders)
                assert not named, f"{path}:{node.lineno}"
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                assert getattr(node.right, "value", None) not in folders, f"{path}:{node.lineno}"


def test_a_name_of_a_class_means_one_thing() -> None:
    names = [
        node.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    assert names.count("Run") == 1


def test_what_the_parent_process_imports_brings_no_torch() -> None:
    code = "import sys, triad.launch.command; sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_triad_from_python_imports_neither_torch_nor_hydra_until_they_are_used() -> None:
    code = "import sys, triad; sys.exit(bool({'torch', 'hydra', 'omegaconf'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert triad.compose(["context=7"])["context"] == 7
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = triad.lod


def test_every_module_says_what_it_is() -> None:
    for path in FILES:
        if path.name != "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text())), path


def test_nothing_in_the_product_names_an_absolute_path_of_a_machine() -> None:
    leak = re.compile(r"(?<![\w./-])/(?:root|home|work|opt)/[\w.]", re.IGNORECASE)
    for path in (*FILES, *SOURCE.parents[1].glob("conf/**/*.yaml"), *SOURCE.parents[1].glob("*.*")):
        if path.is_file() and path.suffix in (".py", ".yaml", ".md", ".toml", ".txt"):
            assert not leak.search(path.read_text()), path


def test_every_module_can_be_imported() -> None:
    for path in FILES:
        if path.name not in MAINS:
            importlib.import_module(".".join(("triad", *path.relative_to(SOURCE).with_suffix("").parts)))


def test_what_rich_prints_is_data_and_no_markup() -> None:
    consoles = 0
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if name in ("Console", "TextColumn"):
                switches = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert switches.get("markup") == "False", (path, node.lineno)
                assert name == "TextColumn" or switches.get("emoji") == "False", (path, node.lineno)
                consoles += name == "Console"
    assert consoles
