"""Names allowed in a `.keras` file: parts of Keras and this package, and what the caller trusts.

The list is built from Keras's public namespaces, so it matches the installed Keras. Excluded are
classes that run code or open files, listed in the tables here, and classes that save files of their
own beside the weights, recognized by their methods.
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
from keras.src.models.functional import Functional  # not public: `keras.Model(...)` returns it

_OURS = "keras_dlcourse"

_CLASSES: tuple[tuple[ModuleType, tuple[type, ...]], ...] = (
    # a namespace, and the base classes of its allowed classes
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
_NO_PARTS = ("deserialize", "get", "serialize")  # functions in these namespaces that are not parts

_OPERATIONS = (keras.ops, keras.ops.image)
"""`x + y` and `keras.ops` add operations to functional models; these modules define their classes.
"""

REFUSED: Mapping[str, str] = {
    "keras.layers.Lambda": "it runs a function",
    "keras.layers.TFSMLayer": "it runs a program from a folder",
    "keras.layers.JaxLayer": "it runs functions",
    "keras.layers.FlaxLayer": "it runs functions",
    "keras.layers.TorchModuleWrapper": "it contains a pickle, which can run code",
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
"""Classes in these namespaces that are refused, and why."""

_TORCH = "keras.src.backend.torch."
_KEEPS_FILES = "it opens files of its own"


@dataclass(frozen=True)
class Name:
    """The name of a class or function in a config. All fields must be as Keras writes them.

    Attributes:
        module: Its module; always "builtins" for functions.
        class_name: Its name.
        registered_name: Its name in Keras's registry; None for Keras's public classes.
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


def drop_submodule(module: str | None, registered_name: str | None) -> str | None:
    """Return the module of a class; of this package's registered classes, only the package.

    Keras finds those by their registered name alone, so files of earlier versions, in which a class
    was in another module, can be loaded.
    """
    is_ours = (module or "").startswith(f"{_OURS}.")
    return _OURS if is_ours and (registered_name or "").startswith(f"{_OURS}>") else module


class Allowed:
    """The classes and functions that a file may refer to.

    Args:
        trust: Additional classes and functions to allow.

    Attributes:
        objects: The allowed objects, by name.
        refused: The reasons why other classes of Keras are refused, by name.
        trusted: The names of the objects from `trust`.
        custom_objects: The objects from `trust`, as Keras's `custom_objects`.
    """

    def __init__(self, trust: Iterable[Any] = ()) -> None:
        self.objects: dict[Name, Any] = dict(_functions())
        self.refused: dict[Name, str] = {}
        self.trusted: set[Name] = set()
        self.custom_objects: dict[str, Any] = {}
        for name, kind in (*_find_keras_classes(), *_find_our_classes()):
            if reason := _reason_against(name, kind):
                self.refused[name] = reason
            else:
                self.objects[name] = kind
        for thing in trust:
            self._trust(thing)
        self._held = set(map(id, self.objects.values()))

    def holds(self, thing: Any) -> bool:
        """Return whether a class or function is allowed."""
        return id(thing) in self._held

    def _trust(self, thing: Any) -> None:
        """Add a class or function under the name that Keras writes for it."""
        if not isinstance(thing, type | FunctionType) or thing.__name__ == "<lambda>":
            raise TypeError(
                "trust must contain classes and named functions, such as [MyLayer, my_activation]. "
                f"Received: {thing!r}"
            )
        registered = keras.saving.get_registered_name(thing)
        if isinstance(thing, FunctionType):
            name = Name("builtins", registered, None, is_function=True)
        elif get_name_from_symbol(thing):
            name = _find_public_name(thing)
        else:
            is_script = thing.__module__ == "__main__"
            module = None if is_script else drop_submodule(thing.__module__, registered)
            name = Name(module, thing.__name__, registered)
        if self.objects.get(name) is not thing:
            self.objects[name] = thing
            self.trusted.add(name)
            self.custom_objects[registered] = thing


def _reason_against(name: Name, kind: type) -> str | None:
    """Return the reason why a class must not be loaded from a file, or None."""
    reason = REFUSED.get(f"{name.module}.{name.class_name}")
    return _KEEPS_FILES if reason is None and hasattr(kind, "load_assets") else reason


def _find_public_name(kind: type) -> Name:
    """Return the name of a public class of Keras; of several names, the one that Keras writes."""
    module, _, class_name = get_name_from_symbol(kind).rpartition(".")
    return Name(module, class_name, None)


def _find_keras_classes() -> Iterator[tuple[Name, type]]:
    """Yield Keras's classes that a config may name, including those that are refused."""
    for namespace, bases in _CLASSES:
        for kind in vars(namespace).values():
            if inspect.isclass(kind) and issubclass(kind, bases):
                yield _find_public_name(kind), kind
    for kind in (Functional, *_operations(), *_optimizers_of_torch()):
        yield Name(kind.__module__, kind.__name__, kind.__name__), kind


def _operations() -> Iterator[type]:
    """Yield the classes of `keras.ops`, from the modules in which its functions are defined."""
    functions = (item for namespace in _OPERATIONS for item in vars(namespace).values())
    for module in {item.__module__ for item in functions if inspect.isfunction(item)}:
        for kind in vars(sys.modules[module]).values():
            is_operation = inspect.isclass(kind) and issubclass(kind, keras.Operation)
            if is_operation and kind.__module__ == module:
                yield kind


def _optimizers_of_torch() -> Iterator[type]:
    """Yield the PyTorch subclasses of Keras's optimizers, which files saved on PyTorch refer to."""
    if keras.backend.backend() == "torch":
        keras.optimizers.SGD()  # creating an optimizer imports all PyTorch subclasses
        for kind in vars(keras.optimizers).values():
            if inspect.isclass(kind) and issubclass(kind, keras.Optimizer):
                yield from (
                    made for made in kind.__subclasses__() if made.__module__.startswith(_TORCH)
                )


def _find_our_classes() -> Iterator[tuple[Name, type]]:
    """Yield this package's classes that are registered with Keras."""
    for registered, kind in keras.saving.get_custom_objects().items():
        if registered.startswith(f"{_OURS}>") and kind.__module__.startswith(f"{_OURS}."):
            yield Name(drop_submodule(kind.__module__, registered), kind.__name__, registered), kind


def _functions() -> Iterator[tuple[Name, Callable[..., Any]]]:
    """Yield the functions that Keras saves by name, regardless of their module."""
    for namespace in _FUNCTIONS:
        for name, function in vars(namespace).items():
            is_named = inspect.isfunction(function) and function.__name__ == name
            if is_named and name not in _NO_PARTS:
                yield Name("builtins", name, None, is_function=True), function
