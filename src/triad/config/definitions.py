"""Where a dotted name is defined, read from source without importing it.

Importing torch to find a spelling mistake would take seconds.
"""

import ast
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from triad.config.locations import own_packages


class Definition(NamedTuple):
    """A public class or function, and the parsed module that defines it."""

    module: str
    tree: ast.Module
    node: ast.ClassDef | ast.FunctionDef


@cache
def find_definition(dotted: str) -> Definition:
    """The definition behind a dotted name, also where a module imports it from its own package.

    Raises LookupError if there is none.
    """
    module, _, name = dotted.rpartition(".")
    tree, package = parse_module(module)
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef) and statement.name == name:
            return Definition(module, tree, statement)
    for origin in find_imports(tree, name, package):
        if origin == dotted or origin.partition(".")[0] != dotted.partition(".")[0]:
            continue  # a name that a module has from another package is not that module's to offer
        try:
            return find_definition(origin)
        except LookupError:
            continue
    raise LookupError(f"{dotted} does not exist")


@cache
def parse_module(dotted: str) -> tuple[ast.Module, str]:
    """The parsed file of a module, and the package it lies in (folders are walked, nothing is imported)."""
    package, *path = dotted.split(".")
    place = _find_package(package).joinpath(*path)
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    if not all(map(str.isidentifier, path)) or not file.is_file():
        raise LookupError(f"{dotted} does not exist")
    parent = dotted if place.is_dir() else dotted.rpartition(".")[0]
    try:
        return ast.parse(file.read_text(encoding="utf-8")), parent
    except (SyntaxError, UnicodeDecodeError) as error:
        raise LookupError(f"{dotted} cannot be read: {error}") from None


def _find_package(name: str) -> Path:
    """The folder of a package, or the file of a module."""
    if name in own_packages:
        return own_packages[name]
    found = importlib.util.find_spec(name) if name else None
    if found is None or found.origin is None:
        raise LookupError(f"the package {name} is not installed")
    return Path(found.origin).parent


def find_imports(tree: ast.Module, name: str, package: str) -> Iterator[str]:
    """Dotted names under which `from x import name` (or `import *`) says that the name is defined."""
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom):
            above = (
                package.split(".")[: len(package.split(".")) - statement.level + 1] if statement.level else []
            )
            source = ".".join([*above, statement.module or ""]).rstrip(".")
            for alias in statement.names:
                if alias.name == "*" or (alias.asname or alias.name) == name:
                    yield f"{source}.{name if alias.name == '*' else alias.name}"
