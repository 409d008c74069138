"""What a `_target_` may name: parts, and no helper beside them.

A configuration may be that of a stranger's run, which must not reach `os.system`, nor a function of ours or
torch's that writes, removes or imports a file. So a target is a public name, defined in the module that it
names or within the package that it names (torch.nn.Linear), and it is one of

    what a file of conf/ calls                  a file of `--config-dir` is a stranger's
    public names of COMPUTING                   folders that compute and import nothing that reaches a file
    the part that a module of PARTS is named after   triad.callbacks.ema.Ema: one file, one part
    public classes of TORCH                     so that every plain configuration of torch's is possible
    public names of one's own packages          that this start permits: triad.config.own_code
"""

import ast
import re
from difflib import get_close_matches
from functools import cache

from triad.config.definitions import Definition, find_definition
from triad.config.locations import CONF
from triad.config.own_code import is_permitted, tell_word

COMPUTING = ("triad.layers", "triad.models", "triad.optim", "triad.schedules")
PARTS = (
    "triad.tasks",
    "triad.metrics",
    "triad.strategies",
    "triad.callbacks",
    "triad.loggers",
    "triad.data.sources",
)
TORCH = ("torch.nn.modules", "torch.optim")
PACKAGES = ("triad.", "torch.", "lightning.")  # whose source is looked at
COMMENT, CALLED = re.compile(r"#.*"), re.compile(r"""_target_:\s*["']?([\w.]+)""")


def find_part(target: str) -> Definition:
    """The definition of a part. Raises LookupError for what does not exist and for what is no part."""
    package = target.partition(".")[0]
    if target.startswith(PACKAGES) or is_permitted(package):  # asked anew: this may be another start
        if "." not in target:
            raise _refuse(target, "is a package and no part")
        return _find_part(target)
    if word := tell_word(package):
        raise LookupError(f"{target} is not allowed, as it is of another package: {word}")
    raise _refuse(target, "is of another package")


@cache
def _find_part(target: str) -> Definition:
    if any(name.startswith("_") for name in target.split(".")):
        raise _refuse(target, "is a private name")
    try:
        found = find_definition(target)
    except LookupError as error:
        unknown = str(error).endswith("does not exist")
        raise LookupError(f"{target} does not exist{_suggest(target)}") if unknown else error from None
    if not _lies_in(found.module, target.rpartition(".")[0]):
        raise _refuse(target, f"is only imported there, from {found.module}")
    if not _is_part(target, found):
        raise _refuse(target, "is no part")
    return found


def _refuse(target: str, why: str) -> LookupError:
    return LookupError(
        f"{target or '(nothing)'} is not allowed, as it {why}: use a part that conf/ names, another of its"
        f" folder, or a class of torch.nn or torch.optim{_suggest(target)}"
    )


def _suggest(target: str) -> str:
    near = get_close_matches(target, read_called(), 1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else ""


def _is_part(target: str, found: Definition) -> bool:
    if not target.startswith(PACKAGES):
        return True  # of one's own package every public name that it defines
    if any(_lies_in(found.module, package) for package in TORCH):
        return isinstance(found.node, ast.ClassDef)
    own = found.module.rpartition(".")[2]
    if any(_lies_in(found.module, folder) for folder in COMPUTING):
        return own != "refusals"
    if any(_lies_in(found.module, folder) for folder in PARTS) and _fold(found.node.name) == _fold(own):
        return True
    return target in read_called()


@cache
def read_called() -> set[str]:
    """The targets of all files of conf/."""
    texts = (path.read_text(encoding="utf-8") for path in CONF.rglob("*.yaml"))
    return {target for text in texts for target in CALLED.findall(COMMENT.sub("", text))}


def _fold(name: str) -> str:
    """A name as classes and modules have it in common: CausalLM, causal_lm."""
    return name.replace("_", "").lower()


def _lies_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")
