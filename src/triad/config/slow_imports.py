"""What takes seconds to import: said before it begins, and put off where a run does not use it.

Lightning imports torchmetrics with all its metrics for the names of two classes, and with these whatever of
transformers, scipy and matplotlib is installed. torch._dynamo is imported by each optimizer and by Lightning,
though nothing is compiled. Of a start's CPU time they took a third (docs/performance.md). Here such a module
is empty until somebody asks for more of it than these do; then it is loaded, in place.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial, wraps
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from triad.config.stages import announce

SLOW = {"hydra": "composing", "torch": "importing torch", "lightning": "importing lightning"}  # announced
Load = Callable[[ModuleType], None]


def hasten_imports() -> None:
    """Announce the packages of SLOW and put the modules of LAZY off, whoever imports them."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class Lazy(ModuleType):
    """A module that is loaded when it is asked for an attribute that its class here does not have.

    `first` is a part of it that is imported at once, as the module itself would.
    """

    first: str | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__all__", "__version__"):
            raise AttributeError(name)  # Python asks modules for such, as for a __path__
        load(self)
        return getattr(self, name)


def load(module: ModuleType) -> None:
    """Load a module in place, if that was put off."""
    if postponed := module.__dict__.pop("_postponed", None):
        module.__class__ = ModuleType
        postponed(module)


class Dynamo(Lazy):
    """torch._dynamo before anything is compiled: nothing is of its class, and nothing kept from it."""

    class _OfLoaded(type):
        def __instancecheck__(cls, instance: Any) -> bool:
            dynamo = sys.modules["torch._dynamo"]
            return not isinstance(dynamo, Lazy) and isinstance(instance, dynamo.OptimizedModule)

    class OptimizedModule(metaclass=_OfLoaded):
        """For who asks whether something is one."""

    def graph_break(self) -> None:
        """Nothing: there is no graph."""

    def disable(self, function: Callable, *arguments: Any, **named: Any) -> Callable:
        """The function as it is; once the module is loaded, as torch._dynamo.disable makes it."""
        disabled: list[Callable] = []

        @wraps(function)
        def call(*own: Any, **keywords: Any) -> Any:
            if isinstance(self, Lazy):
                return function(*own, **keywords)
            if not disabled:
                disabled.append(self.disable(function, *arguments, **named))
            return disabled[0](*own, **keywords)

        return call


class Torchmetrics(Lazy):
    """torchmetrics without its metrics: the class of them, and of collections of them."""

    first = "torchmetrics.utilities"  # whose parts import each other, and only in this order
    _logger = logging.getLogger("torchmetrics")

    @property
    def __version__(self) -> str:
        return import_module("torchmetrics.__about__").__version__

    @property
    def Metric(self) -> type:
        return import_module("torchmetrics.metric").Metric

    @property
    def MetricCollection(self) -> type:
        return import_module("torchmetrics.collections").MetricCollection


class Plot(Lazy):
    """torchmetrics.utilities.plot without matplotlib, which draws metrics: what a metric imports of it."""

    _AX_TYPE = _PLOT_OUT_TYPE = Any

    def plot_single_or_multi_val(self, *arguments: Any, **named: Any) -> Any:
        """Load the module and call its own."""
        load(self)
        return self.plot_single_or_multi_val(*arguments, **named)


LAZY = {"torch._dynamo": Dynamo, "torchmetrics": Torchmetrics, "torchmetrics.utilities.plot": Plot}


class _Finder(MetaPathFinder):
    """Finds what Python's own finder finds, with another way to load it.

    Who only asks where a package lies, as importlib.util.find_spec does, loads nothing. A part of
    torch._dynamo is imported after the whole, as ever.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.startswith("torch._dynamo."):
            load(sys.modules["torch._dynamo"])
        if fullname not in SLOW and fullname not in LAZY:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec and spec.loader:
            spec.loader.exec_module = partial(
                _announce if fullname in SLOW else _postpone, spec.loader.exec_module
            )
        return spec


def _announce(load: Load, module: ModuleType) -> None:
    if module.__name__ == "lightning":
        import_module("torch")  # which it imports amid its own: a stage by itself
    announce(SLOW[module.__name__])
    load(module)


def _postpone(load: Load, module: ModuleType) -> None:
    module.__class__ = LAZY[module.__name__]
    module.__dict__["_postponed"] = load
    if first := LAZY[module.__name__].first:
        import_module(first)
