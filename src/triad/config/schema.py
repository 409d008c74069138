"""What a configuration may call and with which arguments, read from source without importing it.

A `_target_` names a function or class; its signature is its schema. Importing torch to find a spelling
mistake would take seconds, so names and annotations are read from the syntax tree of the file that defines
the target. Only files of the allowed packages are ever looked at: a configuration from a stranger's run
cannot reach `os.system`, not even through a module that imports `os`.
"""

import ast
import importlib.util
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, Literal, NamedTuple, Union

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from triad.config.errors import Refusal

# Parts that a configuration is made of. Not `triad` as a whole: a stranger's must not reach the launcher.
PARTS = "layers models tasks optim schedules hardware strategies callbacks loggers data verify.record"
ALLOWED = (
    *(f"triad.{part}" for part in PARTS.split()),
    "torch.nn",
    "torch.optim",
    "lightning.pytorch.Trainer",
    "lightning.pytorch.callbacks",
    "torchmetrics",
)

SIMPLE = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "tuple": tuple, "dict": dict}
BOUNDS = {">": Gt, ">=": Ge, "<": Lt, "<=": Le}  # of Annotated[float, ">= 0", "< 1"]
OUTSIDE = {
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
}
RULES = ConfigDict(coerce_numbers_to_str=True, allow_inf_nan=False)


class Parameter(NamedTuple):
    """One argument of a target: its type as far as it is simple, whether it must be given, or its default.

    The default is as the source has it.
    """

    type: Any
    required: bool
    default: str | None = None


class Signature(NamedTuple):
    """The arguments of a target; `open` when it takes any further keyword."""

    parameters: dict[str, Parameter]
    open: bool


@cache
def read_signature(target: str) -> Signature:
    """Read the signature of a dotted name. Raises LookupError if the name is not there or not allowed."""
    module, definition = _find_allowed(target)
    package = _parse_module(target.rpartition(".")[0])[1]
    if isinstance(definition, ast.ClassDef):
        initial = _find_init(module, definition)
        return _read_arguments(initial, module, package, 1) if initial else Signature({}, open=False)
    return _read_arguments(definition, module, package, 0)


@cache
def read_script_signature(file: Path, function: str) -> Signature:
    """Read the signature of a function in a script."""
    module = ast.parse(file.read_text(encoding="utf-8"))
    definitions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    return _read_arguments(definitions[function], module, "triad", 0)


@cache
def read_docstrings(target: str) -> str:
    """What the docstrings of a dotted name and of its `__init__` say, or ""."""
    module, definition = _find_allowed(target)
    initial = _find_init(module, definition) if isinstance(definition, ast.ClassDef) else None
    said = (ast.get_docstring(place) for place in (definition, initial) if place)
    return "\n\n".join(filter(None, said))


@cache
def read_attribute(target: str, name: str) -> Any:
    """The plain value that a dotted name declares, or None, also where there is no such name.

    A class declares it in its body or inherits it; a function by `function.name = value` beneath it, or
    through the class that it is annotated to return.
    """
    try:
        module, definition = _find_definition(target)
        package = _parse_module(target.rpartition(".")[0])[1]
    except LookupError:
        return None
    if isinstance(definition, ast.ClassDef):
        statements, wanted, above = definition.body, name, definition.bases
    else:
        statements, wanted, above = module.body, f"{definition.name}.{name}", [definition.returns]
    for statement in statements:
        match statement:
            case ast.Assign(targets=[found], value=value) | ast.AnnAssign(target=found, value=value):
                if value and ast.unparse(found) == wanted:
                    return _read_literal(value, f"{target}.{name}")
    for base in above:
        if isinstance(base, ast.Name):
            local = f"{target.rpartition('.')[0]}.{base.id}"
            for origin in (local, *_find_imports(module, base.id, package)):
                ours = origin.partition(".")[0] == "triad"
                if ours and (value := read_attribute(origin, name)) is not None:
                    return value
    return None


def _read_literal(value: ast.expr, where: str) -> Any:
    try:
        return ast.literal_eval(value)
    except ValueError:
        given = ast.unparse(value)
        raise Refusal(f"{where} = {given}: what a part declares must be a plain literal") from None


@cache
def read_constant(target: str) -> Any:
    """The plain value of a module's `name = ...`, and of `name = Literal[...]` its words."""
    module, name = _parse_module(target.rpartition(".")[0])[0], target.rpartition(".")[2]
    for statement in module.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                return ast.literal_eval(value.slice if isinstance(value, ast.Subscript) else value)
    raise LookupError(f"{target} does not exist")


@cache
def is_class(target: str) -> bool:
    """Whether a dotted name is a class and not a function."""
    return isinstance(_find_definition(target)[1], ast.ClassDef)


def find_faults(node: Any, path: str = "") -> Iterator[str]:
    """Yield one sentence for each fault in a tree of named calls; convert values in place (1e3 -> 1000)."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from find_faults(item, f"{path}[{index}]")
    elif isinstance(node, dict):
        if "_target_" in node:
            yield from _check_call(node, path)
        for key, value in node.items():
            yield from find_faults(value, f"{path}.{key}".lstrip("."))


def convert(value: Any, annotation: Any) -> tuple[Any, str | None]:
    """The value as the annotation wants it, and None or what is wrong with it."""
    # bool is an int in Python; in a config `steps: true` is a mistake
    if isinstance(value, bool) and annotation is not Any and bool not in _list_members(annotation):
        return value, "is a truth value"
    try:
        found = TypeAdapter(annotation, config=RULES).validate_python(value)
        return [*found] if isinstance(found, tuple) else found, None
    except ValidationError as error:
        first = error.errors()[0]
        phrase = OUTSIDE.get(first["type"], first["msg"].lower())
        return value, phrase.format(**first.get("ctx", {}))


def suggest(word: str, known: list[str]) -> str:
    """'; did you mean ...?' when something known is near, else the choices, else nothing."""
    near = get_close_matches(word, known, 3, cutoff=0.6)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; known here: {', '.join(sorted(known))}" if 0 < len(known) <= 20 else ""


def _check_call(node: dict, path: str) -> Iterator[str]:
    if not isinstance(node["_target_"], str):
        yield f"{path}._target_={node['_target_']}: the name of a class or function"
        return
    if not isinstance(node.get("_partial_", False), bool):
        yield f"{path}._partial_={node['_partial_']}: true or false"
    try:
        known = read_signature(node["_target_"])
    except LookupError as error:
        yield f"{path}._target_: {error}"
        return
    given = {key for key in node if not (key.startswith("_") and key.endswith("_"))}
    for key in sorted(given - known.parameters.keys()):
        if not known.open:
            near = suggest(key, list(known.parameters))
            yield f"{path}.{key} is not an argument of {node['_target_']}{near}"
    for key in given & known.parameters.keys():
        if not _is_call(node[key]):
            node[key], fault = convert(node[key], known.parameters[key].type)
            if fault:
                yield f"{path}.{key}={node[key]}: {fault}"
    if not node.get("_partial_"):
        for key, parameter in known.parameters.items():
            if parameter.required and key not in given:
                yield f"{path}.{key} is required by {node['_target_']}: add {path}.{key}=..."


def _is_call(value: Any) -> bool:
    return isinstance(value, dict) and "_target_" in value


def _list_members(annotation: Any) -> tuple:
    return getattr(annotation, "__args__", None) or (annotation,)


def _find_allowed(target: str) -> tuple[ast.Module, ast.ClassDef | ast.FunctionDef]:
    if not any(target == allowed or target.startswith(f"{allowed}.") for allowed in ALLOWED):
        raise LookupError(f"{target} is not allowed; a config may call {', '.join(ALLOWED)}")
    return _find_definition(target)


def _find_definition(target: str) -> tuple[ast.Module, ast.ClassDef | ast.FunctionDef]:
    module, package = _parse_module(target.rpartition(".")[0])
    name = target.rpartition(".")[2]
    for statement in module.body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef) and statement.name == name:
            return module, statement
    for origin in _find_imports(module, name, package):
        if origin == target or origin.partition(".")[0] != target.partition(".")[0]:
            continue  # a name that a module has from another package is not that module's to offer
        try:
            return _find_definition(origin)
        except LookupError:
            continue
    raise LookupError(f"{target} does not exist")


@cache
def _parse_module(dotted: str) -> tuple[ast.Module, str]:
    """The parsed file of a module, and the package it lies in (folders are walked, nothing is imported)."""
    package, *path = dotted.split(".")
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise LookupError(f"the package {package} is not installed")
    place = Path(found.origin).parent.joinpath(*path)
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    if not file.is_file():
        raise LookupError(f"{dotted} does not exist")
    parent = dotted if place.is_dir() else dotted.rpartition(".")[0]
    return ast.parse(file.read_text(encoding="utf-8")), parent


def _find_imports(module: ast.Module, name: str, package: str) -> Iterator[str]:
    """Dotted names under which `from x import name` (or `import *`) says that the name is defined."""
    for statement in module.body:
        if isinstance(statement, ast.ImportFrom):
            above = (
                package.split(".")[: len(package.split(".")) - statement.level + 1] if statement.level else []
            )
            source = ".".join([*above, statement.module or ""]).rstrip(".")
            for alias in statement.names:
                if alias.name == "*" or (alias.asname or alias.name) == name:
                    yield f"{source}.{name if alias.name == '*' else alias.name}"


def _find_init(module: ast.Module, definition: ast.ClassDef) -> ast.FunctionDef | None:
    """`__init__` of a class, or of the nearest base in the same file."""
    for statement in definition.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return statement
    bases = {base.id for base in definition.bases if isinstance(base, ast.Name)}
    for statement in module.body:
        if isinstance(statement, ast.ClassDef) and statement.name in bases:
            return _find_init(module, statement)
    return None


def _read_arguments(definition: ast.FunctionDef, module: ast.Module, package: str, skip: int) -> Signature:
    arguments = definition.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    pairs = [*zip(positional, defaults, strict=True)][skip:]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    read = TypeReader(module, package).read
    parameters = {
        a.arg: Parameter(read(a.annotation), default is None, ast.unparse(default) if default else None)
        for a, default in pairs
    }
    return Signature(parameters, open=arguments.kwarg is not None)


class TypeReader(NamedTuple):
    """The types that annotations of a module of ours spell; its own names, such as `Mode`, are followed.

    Bounds are strings: Annotated[float, ">= 0", "< 1"]. What is not made of simple parts, such as a function
    or a layer, is a part of its own: no plain value stands for it. Of other packages it may be anything.
    """

    module: ast.Module
    package: str

    def read(self, node: ast.expr | None) -> Any:
        match node:
            case ast.Constant(value=None):
                return type(None)
            case ast.Constant(value=str(text)):
                return self.read(ast.parse(text, mode="eval").body)
            case ast.Name(id=name) | ast.Attribute(attr=name):
                return SIMPLE.get(name) or self._follow(name)
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return self._unite(left, right)
            case ast.Subscript(value=ast.Name(id=name), slice=inner):
                return self._read_generic(name, inner.elts if isinstance(inner, ast.Tuple) else [inner])
        return Any

    def _follow(self, name: str) -> Any:
        if not self.package.startswith("triad") or name in ("Any", "Path"):
            return Any
        for statement in self.module.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                    return self.read(value)
        for origin in _find_imports(self.module, name, self.package):
            if origin.startswith("triad."):
                return TypeReader(*_parse_module(origin.rpartition(".")[0])).read(ast.Name(name))
        return PART

    def _read_generic(self, name: str, inner: list[ast.expr]) -> Any:
        if name == "Literal":
            return Literal.__getitem__(tuple(ast.literal_eval(item) for item in inner))
        if name == "Annotated":
            bounds = [BOUNDS[sign](float(n)) for sign, n in (ast.literal_eval(b).split() for b in inner[1:])]
            return Annotated[self.read(inner[0]), *bounds]  # ty: ignore[invalid-type-form]
        if name in ("Optional", "Union"):
            return self._unite(*inner, *([ast.Constant(None)] if name == "Optional" else []))
        types = tuple(self.read(item) for item in inner if not isinstance(item, ast.Constant))
        if name in ("list", "tuple", "dict"):
            return GenericAlias(SIMPLE[name], (*types, ...) if len(types) < len(inner) else types)
        return self._follow(name)

    def _unite(self, *members: ast.expr) -> Any:
        """A union, without the tensors that a YAML file cannot spell."""
        others = (m for m in members if not (isinstance(m, ast.Name) and m.id == "Tensor"))
        return Union[tuple(map(self.read, others))]  # noqa: UP007 (built at run time)


def _refuse_plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float | list) or value == {}:
        raise PydanticCustomError("part", "a part stands here, which has a _target_")
    return value


PART = Annotated[Any, AfterValidator(_refuse_plain)]
