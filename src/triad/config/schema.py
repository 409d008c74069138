"""What a configuration may call and with which arguments, read from source without importing it.

A `_target_` names a function or class; its signature is its schema. Names and annotations are read from the
syntax tree of the file that defines the target; triad.config.targets says which may be called.
"""

import ast
import json
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from itertools import chain
from keyword import iskeyword
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, Literal, NamedTuple, Union

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from triad.config.definitions import Definition, find_definition, find_imports, parse_module
from triad.config.errors import Refusal
from triad.config.neighbours import answer
from triad.config.targets import find_part

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


def read_signature(target: str) -> Signature:
    """Read the signature of a dotted name. Raises LookupError if the name is not there or not allowed."""
    find_part(target)  # each time: what is allowed is a matter of the start
    return _read_signature(target)


@cache
def _read_signature(target: str) -> Signature:
    found = find_part(target)
    if isinstance(found.node, ast.ClassDef):
        initial = _find_init(found)
        return _read_arguments(initial, skip=1) if initial else Signature({}, open=False)
    return _read_arguments(found, skip=0)


def list_defaults(target: str) -> list[str]:
    """The arguments of a dotted name that have a default; [] of one that is not there or not allowed."""
    try:
        parameters = read_signature(target).parameters
    except LookupError:
        return []
    return [name for name, parameter in parameters.items() if not parameter.required]


@cache
def read_script_signature(file: Path, function: str) -> Signature:
    """Read the signature of a function in a script."""
    module = ast.parse(file.read_text(encoding="utf-8"))
    definitions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    return _read_arguments(Definition("triad", module, definitions[function]), skip=0)


def read_docstrings(target: str) -> str:
    """What the docstrings of a dotted name and of its `__init__` say, or ""; "" of what is not allowed."""
    try:
        found = find_part(target)
    except LookupError:
        return ""
    initial = _find_init(found) if isinstance(found.node, ast.ClassDef) else None
    said = (ast.get_docstring(place.node) for place in (found, initial) if place)
    return "\n\n".join(filter(None, said))


def read_attribute(target: str, name: str) -> Any:
    """The plain value that a dotted name declares, or None, also where there is no such name.

    A class declares it in its body or inherits it; a function by `function.name = value` beneath it, or
    through the class that it is annotated to return.
    """
    try:
        find_definition(target)
    except LookupError:  # not kept: another start may permit its package
        return None
    return _read_attribute(target, name)


@cache
def _read_attribute(target: str, name: str) -> Any:
    found = find_definition(target)
    _, module, definition = found
    if isinstance(definition, ast.ClassDef):
        statements, wanted, above = definition.body, name, definition.bases
    else:
        statements, wanted, above = module.body, f"{definition.name}.{name}", [definition.returns]
    for named, value in chain.from_iterable(map(_list_assigned, statements)):
        if ast.unparse(named) == wanted:
            return _read_literal(value, f"{target}.{name}")
    for base in above:
        for origin in _find_origins(found, base):
            if (value := read_attribute(origin, name)) is not None:
                return value
    return None


def _list_assigned(statement: ast.stmt) -> list[tuple[ast.expr, ast.expr]]:
    """What a statement assigns, and the values: those of `splits, sees = ("tensor",), "past"`, too."""
    match statement:
        case ast.AnnAssign(target=named, value=ast.expr() as value):
            return [(named, value)]
        case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
            return [*zip(names, values, strict=False)]
        case ast.Assign(targets=targets, value=value):
            return [(named, value) for named in targets]
    return []


def _list_followed(dotted: str) -> set[str]:
    """The packages whose source says what a name of one of them declares and takes: no library's."""
    return {"triad", dotted.partition(".")[0]} - {"torch", "lightning"}


def _find_origins(found: Definition, name: ast.expr | None) -> Iterator[str]:
    """Dotted names under which a name in the file of a definition is defined, in packages that we follow."""
    if not isinstance(name, ast.Name):
        return
    imported = find_imports(found.tree, name.id, parse_module(found.module)[1])
    for origin in (f"{found.module}.{name.id}", *imported):
        if origin.partition(".")[0] in _list_followed(found.module):
            yield origin


def _read_literal(value: ast.expr, where: str) -> Any:
    try:
        return ast.literal_eval(value)
    except ValueError:
        given = ast.unparse(value)
        raise Refusal(f"{where} = {given}: what a part declares must be a plain literal") from None


@cache
def read_constant(target: str) -> Any:
    """The plain value of a module's `name = ...`, and of `name = Literal[...]` its words."""
    module, name = parse_module(target.rpartition(".")[0])[0], target.rpartition(".")[2]
    for statement in module.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                return ast.literal_eval(value.slice if isinstance(value, ast.Subscript) else value)
    raise LookupError(f"{target} does not exist")


@cache
def is_class(target: str) -> bool:
    """Whether a dotted name is a class and not a function."""
    return isinstance(find_definition(target).node, ast.ClassDef)


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
    target, partial = node["_target_"], node.get("_partial_", False)
    if not isinstance(target, str):
        given = json.dumps(target, default=str)
        yield f"{path}._target_={given}: the dotted name of a part, such as triad.models.decoder.Decoder"
        return
    if not isinstance(partial, bool):
        yield f"{path}._partial_={json.dumps(partial, default=str)}: true or false"
    try:
        known = read_signature(target)
    except LookupError as error:
        yield f"{path}._target_: {error}"
        return
    given = node.keys() - {"_target_", "_partial_"}
    for key in sorted(given - known.parameters.keys(), key=str):
        if not known.open or not isinstance(key, str):
            ours = answer(f"{path}.{key}", str(node[key]))
            near = f"; here that is {ours}" if ours else suggest(str(key), list(known.parameters))
            yield f"{path}.{key} is not an argument of {target}{near}"
    for key in given & known.parameters.keys():
        if not _is_call(node[key]):
            node[key], fault = convert(node[key], known.parameters[key].type)
            if fault:
                yield f"{path}.{key}={node[key]}: {fault}"
    if not partial:
        for key, parameter in known.parameters.items():
            if parameter.required and key not in given:
                yield f"{path}.{key} is required by {target}: add {path}.{key}=..."


def _is_call(value: Any) -> bool:
    return isinstance(value, dict) and "_target_" in value


def _list_members(annotation: Any) -> tuple:
    return getattr(annotation, "__args__", None) or (annotation,)


def _find_init(found: Definition) -> Definition | None:
    """`__init__` of a class or of the nearest of its bases, in its file and in packages that we follow."""
    assert isinstance(found.node, ast.ClassDef)
    for statement in found.node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return Definition(found.module, found.tree, statement)
    for base in found.node.bases:
        if (above := _find_class(found, base)) and (initial := _find_init(above)):
            return initial
    return None


def _find_class(found: Definition, base: ast.expr) -> Definition | None:
    """The class that a base in the file of a definition is."""
    for statement in found.tree.body:
        if isinstance(statement, ast.ClassDef) and isinstance(base, ast.Name) and statement.name == base.id:
            return Definition(found.module, found.tree, statement)
    for origin in _find_origins(found, base):
        with suppress(LookupError):
            above = find_definition(origin)
            return above if isinstance(above.node, ast.ClassDef) else None
    return None


def _read_arguments(found: Definition, skip: int) -> Signature:
    assert isinstance(found.node, ast.FunctionDef)
    arguments = found.node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    pairs = [*zip(positional, defaults, strict=True)][skip:]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    read = TypeReader(found.tree, parse_module(found.module)[1]).read
    parameters = {
        _name_key(a.arg): Parameter(
            read(a.annotation), default is None, ast.unparse(default) if default else None
        )
        for a, default in pairs
    }
    return Signature(parameters, open=arguments.kwarg is not None)


def _name_key(argument: str) -> str:
    """The key of an argument: `from` of `from_`, as a word of Python is no name of an argument."""
    return argument[:-1] if argument.endswith("_") and iskeyword(argument[:-1]) else argument


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
        followed = _list_followed(self.package)
        if self.package.partition(".")[0] not in followed or name in ("Any", "Path"):
            return Any
        for statement in self.module.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                    return self.read(value)
        for origin in find_imports(self.module, name, self.package):
            if origin.partition(".")[0] in followed:
                return TypeReader(*parse_module(origin.rpartition(".")[0])).read(ast.Name(name))
        return PART if self.package.startswith("triad") else Any

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
