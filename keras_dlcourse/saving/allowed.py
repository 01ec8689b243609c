"""What a `.keras` file may name: parts of Keras and of this package, and what the reader trusts.

The list is made from Keras's public namespaces, so it is that of the Keras that is installed. Two
things are taken from it: what runs code or opens files, by the tables here, and what saves files
of its own beside the weights, by asking the classes.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import keras
from keras.src.api_export import get_name_from_symbol
from keras.src.models.functional import Functional  # public only as what `keras.Model` returns

_OURS = "keras_dlcourse"

_CLASSES: tuple[tuple[ModuleType, tuple[type, ...]], ...] = (
    # the namespace, and which of its classes
    (keras, (keras.Model,)),
    (keras.layers, (keras.layers.Layer,)),
    (keras.initializers, (keras.Initializer,)),
    (keras.regularizers, (keras.Regularizer,)),
    (keras.constraints, (keras.constraints.Constraint,)),
    (keras.losses, (keras.Loss,)),
    (keras.metrics, (keras.Metric,)),
    (keras.optimizers, (keras.Optimizer,)),
    (keras.optimizers.schedules, (keras.optimizers.schedules.LearningRateSchedule,)),
    (keras.dtype_policies, (keras.DTypePolicy, keras.dtype_policies.DTypePolicyMap)),
    (keras.quantizers, (keras.Quantizer, getattr(keras.quantizers, "QuantizationConfig", type))),
    (keras.random, (keras.random.SeedGenerator,)),
)

_FUNCTIONS = (keras.activations, keras.losses, keras.metrics)
_NO_PARTS = ("deserialize", "get", "serialize")  # functions there that are none of the parts

_OPERATIONS = (keras.ops, keras.ops.image)
"""What `x + y` and `keras.ops` leave in a functional model are classes in the modules of these."""

REFUSED: Mapping[str, str] = {
    "keras.layers.Lambda": "it runs a function",
    "keras.layers.TFSMLayer": "it opens a folder and runs the program there",
    "keras.layers.JaxLayer": "it runs functions",
    "keras.layers.FlaxLayer": "it runs functions",
    "keras.layers.TorchModuleWrapper": "it holds a pickle, which runs code",
    "keras.quantizers.GPTQConfig": "it takes data and a tokenizer",
    "keras.quantizers.AWQConfig": "it takes data and a tokenizer",
    "keras.src.ops.linalg.JVP": "it runs functions",
    "keras.src.ops.core.AssociativeScan": "it runs functions",
    "keras.src.ops.core.Cond": "it runs functions",
    "keras.src.ops.core.ForiLoop": "it runs functions",
    "keras.src.ops.core.Map": "it runs functions",
    "keras.src.ops.core.Scan": "it runs functions",
    "keras.src.ops.core.Switch": "it runs functions",
    "keras.src.ops.core.VectorizedMap": "it runs functions",
    "keras.src.ops.core.WhileLoop": "it runs functions",
}
"""What of the above is refused, and why."""

_TORCH = "keras.src.backend.torch."
_KEEPS_FILES = "it opens files of its own"


@dataclass(frozen=True)
class Name:
    """How a config names a class or function. All of it must be what Keras writes for that.

    Attributes:
        module: Its module; of functions, always "builtins".
        class_name: Its name.
        registered_name: Its name in Keras's registry; None for what is public in Keras.
        is_function: Whether it is a function.
    """

    module: str | None
    class_name: str
    registered_name: str | None
    is_function: bool = False

    def __str__(self) -> str:
        path = f"{self.module}.{self.class_name}" if self.module else self.class_name
        if self.is_function:
            path = self.class_name if self.module == "builtins" else path
            return f"function {path}"
        is_plain = self.registered_name in (None, self.class_name)
        return path if is_plain else f"{path}, registered as {self.registered_name}"


class Allowed:
    """The classes and functions that a file may name.

    Args:
        trust: Classes and functions that it may name besides.

    Attributes:
        objects: They, by name.
        refused: Why a class of Keras is not among them, by name.
        trusted: The names of those from `trust`.
        custom_objects: What Keras must be told of those from `trust`.
    """

    def __init__(self, trust: Iterable[Any] = ()) -> None:
        self.objects: dict[Name, Any] = dict(_functions())
        self.refused: dict[Name, str] = {}
        self.trusted: set[Name] = set()
        self.custom_objects: dict[str, Any] = {}
        for name, kind in (*_of_keras(), *_of_ours()):
            if reason := _reason_against(name, kind):
                self.refused[name] = reason
            else:
                self.objects[name] = kind
        for thing in trust:
            self._trust(thing)
        self._held = set(map(id, self.objects.values()))

    def holds(self, thing: Any) -> bool:
        """Whether a class or function is among those allowed."""
        return id(thing) in self._held

    def _trust(self, thing: Any) -> None:
        """Add a class or function, under the name that Keras writes for it."""
        if not isinstance(thing, type | FunctionType) or thing.__name__ == "<lambda>":
            raise TypeError(
                "trust must hold classes and named functions, such as [MyLayer, my_activation]; "
                f"received {thing!r}"
            )
        registered = keras.saving.get_registered_name(thing)
        if isinstance(thing, FunctionType):
            name = Name("builtins", registered, None, is_function=True)
        elif get_name_from_symbol(thing):
            name = _public(thing)
        else:
            is_script = thing.__module__ == "__main__"
            name = Name(None if is_script else thing.__module__, thing.__name__, registered)
        if self.objects.get(name) is not thing:
            self.objects[name] = thing
            self.trusted.add(name)
            self.custom_objects[registered] = thing


def _reason_against(name: Name, kind: type) -> str | None:
    """Return why a class of the namespaces below is not to be opened from a file, or None."""
    reason = REFUSED.get(f"{name.module}.{name.class_name}")
    return _KEEPS_FILES if reason is None and hasattr(kind, "load_assets") else reason


def _public(kind: type) -> Name:
    """Return the name of a class that is public in Keras; of several, the one that it writes."""
    module, _, class_name = get_name_from_symbol(kind).rpartition(".")
    return Name(module, class_name, None)


def _of_keras() -> Iterator[tuple[Name, type]]:
    """Return Keras's classes that a config may name, with those that are refused."""
    for namespace, bases in _CLASSES:
        for kind in vars(namespace).values():
            if inspect.isclass(kind) and issubclass(kind, bases):
                yield _public(kind), kind
    for kind in (Functional, *_operations(), *_optimizers_of_torch()):
        yield Name(kind.__module__, kind.__name__, kind.__name__), kind


def _operations() -> Iterator[type]:
    """Return the classes of `keras.ops`, from the modules in which its functions are defined."""
    functions = (item for namespace in _OPERATIONS for item in vars(namespace).values())
    for module in {item.__module__ for item in functions if inspect.isfunction(item)}:
        for kind in vars(sys.modules[module]).values():
            is_operation = inspect.isclass(kind) and issubclass(kind, keras.Operation)
            if is_operation and kind.__module__ == module:
                yield kind


def _optimizers_of_torch() -> Iterator[type]:
    """Return what Keras's optimizers become on PyTorch, where files name these instead."""
    if keras.backend.backend() == "torch":
        keras.optimizers.SGD()  # the first one imports them all
        for kind in vars(keras.optimizers).values():
            if inspect.isclass(kind) and issubclass(kind, keras.Optimizer):
                yield from (
                    made for made in kind.__subclasses__() if made.__module__.startswith(_TORCH)
                )


def _of_ours() -> Iterator[tuple[Name, type]]:
    """Return this package's classes that are registered with Keras."""
    for registered, kind in keras.saving.get_custom_objects().items():
        if registered.startswith(f"{_OURS}>") and kind.__module__.startswith(f"{_OURS}."):
            yield Name(kind.__module__, kind.__name__, registered), kind


def _functions() -> Iterator[tuple[Name, Callable[..., Any]]]:
    """Return the functions that Keras writes by name, whatever module they are from."""
    for namespace in _FUNCTIONS:
        for name, function in vars(namespace).items():
            is_named = inspect.isfunction(function) and function.__name__ == name
            if is_named and name not in _NO_PARTS:
                yield Name("builtins", name, None, is_function=True), function
