"""The engine: a model's feature maps, scores and gradients, in one compiled call a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
from keras import ops, tree
from numpy.typing import ArrayLike

from keras_dlcourse import backend
from keras_dlcourse._progress import track
from keras_dlcourse.explain.engine.inputs import checked_classes, checked_inputs
from keras_dlcourse.explain.engine.scores import Scores, Target
from keras_dlcourse.graph.running import Network, Place, call_in_inference
from keras_dlcourse.graph.tokens import find_features

INPUT = "input"  # in place of a layer's name: the image itself
_TOP = -1  # in place of a class: the one with the highest score


@dataclass(frozen=True)
class Found:
    """What was computed for some images; channels come last.

    Attributes:
        features: What comes out of the layer, `(n, height, width, channels)`.
        gradients: Gradient of `values` by `features`, of the same shape; empty of a mere `forward`.
        values: The number that was explained, `(n,)`.
        scores: Scores of all classes before softmax, `(n, classes)`; None for a target that is a
            function.
    """

    features: np.ndarray
    gradients: np.ndarray
    values: np.ndarray
    scores: np.ndarray | None


class Probe:
    """A model, opened at one layer. Weights are read at each call, so training may go on between.

    All batches are padded to one size and classes are data, so nothing is traced twice.

    Args:
        model: A functional or Sequential model, with nested models, several inputs and outputs.
        layer: Name of the layer, see `find_features`; `"input"` for the image itself.
        reshape: Rows and columns of the patches that a layer's tokens stand for, where it gives
            tokens `(n, tokens, numbers)`; None finds them.
        target: What is explained if it is no class: a function, in `keras.ops`, from the model's
            outputs to one number for each image, shape `(n,)`.
        output: Number or name of the output that has the classes.
        image_input: Number of the input that is the image; models with one have no other.
        batch_size: Number of images computed at a time.

    Raises:
        TypeError: If `model` is no Keras model or an argument has another type.
        ValueError: If the model has no graph, or layer, output or input do not exist.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        layer: str | None = None,
        reshape: tuple[int, int] | None = None,
        target: Target | None = None,
        output: int | str = 0,
        image_input: int = 0,
        batch_size: int = 32,
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size must be a whole number above 0. Received: {batch_size!r}")
        if target is not None and not callable(target):
            raise TypeError(
                "target must be a function from the model's outputs to one number an image; "
                f"classes go into classes=. Received: {target!r}"
            )
        self.model = model
        self.network = Network(model)
        count = len(self.network.model.inputs)
        if image_input not in range(count):
            raise ValueError(f"image_input must be below {count}. Received: {image_input!r}")
        self.image_input, self.batch_size, self.target = image_input, batch_size, target
        self.scores = None if target else Scores(self.network, output)
        self.place: Place | None = None
        self.grid: tuple[int, int] | None = None
        if layer != INPUT:
            heads = self.scores.head if self.scores else ()
            self.place, self.grid = find_features(self.network, layer, image_input, heads, reshape)

    @property
    def classes(self) -> int:
        """Number of classes; 0 if a function is explained."""
        return self.scores.classes if self.scores else 0

    def __call__(self, images: Any, classes: ArrayLike | None = None) -> Found:
        """Compute features, gradients and scores.

        Args:
            images: `(n, height, width, channels)`, prepared as for `model.predict`; for a model
                with several inputs a list or dict of arrays, as for `predict`.
            classes: One for all images, or `(n,)`; None takes the one with the highest score.

        Raises:
            ValueError: If images or classes do not fit the model.
        """
        dtype = self._input_dtype(self.image_input)
        if self.place is None and "float" not in dtype:
            raise ValueError(
                f"input {self.network.model.inputs[self.image_input].name!r} of model "
                f"{self.model.name!r} takes whole numbers ({dtype}), by which there is no "
                "gradient; occlusion needs none"
            )
        arrays = checked_inputs(self.network.model, images)
        chosen = self._chosen(classes, len(arrays[0]))
        return self._found(self._with_gradient, [chosen, *arrays])

    def forward(self, images: Any, classes: ArrayLike | None = None) -> Found:
        """Compute features and scores, but no gradients."""
        arrays = checked_inputs(self.network.model, images)
        chosen = self._chosen(classes, len(arrays[0]))
        return self._found(self._without_gradient, [chosen, *arrays])

    @property
    def channels_first(self) -> bool:
        """Whether the layer's feature maps come as `(n, channels, height, width)`."""
        operation = self.place.node.operation if self.place else None
        return getattr(operation, "data_format", None) == "channels_first"

    @cached_property
    def _forward(self) -> Callable[..., Any]:
        def function(*arrays: Any) -> Any:
            return self._compute(None, *arrays)[1]

        return backend.compiled(function, self.network.model.variables)

    @cached_property
    def _backward(self) -> Callable[..., Any]:
        return backend.compiled(backend.gradient(self._compute), self.network.model.variables)

    def _without_gradient(self, arrays: list[np.ndarray]) -> tuple[Any, Any]:
        return None, self._forward(*arrays)

    def _with_gradient(self, arrays: list[np.ndarray]) -> tuple[Any, Any]:
        shape = arrays[1 + self.image_input].shape
        if self.place is not None:
            shape = self.place.shape
            if None in shape[1:]:  # open sizes follow from those of the images
                shape = tuple(self._forward(*arrays)[0].shape)
        return self._backward(np.zeros((len(arrays[0]), *shape[1:]), "float32"), *arrays)

    def _found(self, compute: Callable[..., Any], arrays: list[np.ndarray]) -> Found:
        """Compute in batches, all padded to one size."""
        parts, room = [], _room(len(arrays[0]), self.batch_size)
        starts = range(0, len(arrays[0]), self.batch_size)
        # One batch is a part of something longer that shows its own progress.
        for start in track(iter(starts), len(starts), "Maps") if len(starts) > 1 else starts:
            batch = [array[start : start + self.batch_size] for array in arrays]
            gradients, aside = compute([_padded(array, room) for array in batch])
            parts.append([_numbers(x, len(batch[0])) for x in (gradients, *aside)])
        columns = zip(*parts, strict=True)
        joined = [None if x[0] is None else np.concatenate(x) for x in columns]
        gradients, features, values, scores = joined
        features, gradients = self._channels_last(features), self._channels_last(gradients)
        return Found(features, gradients, values, scores)  # type: ignore[arg-type]

    def _compute(self, shift: Any, classes: Any, *inputs: Any) -> tuple[Any, Any]:
        """Return the sum of what is explained; and features, values and scores beside it.

        `shift` is zeros that are added to what comes out of the layer: the gradient by it is the
        gradient by the features, wherever in the graph they stand and whatever goes around them.
        """
        seen: dict[str, Any] = {}

        def look(x: Any) -> Any:
            seen["features"] = x if shift is None else x + ops.cast(shift, x.dtype)
            return seen["features"]

        def after(place: Place, outputs: Any) -> Any:
            return look(tree.flatten(outputs)[0]) if place == self.place else outputs

        tensors = [ops.cast(x, self._input_dtype(number)) for number, x in enumerate(inputs)]
        if self.place is None:
            tensors[self.image_input] = look(tensors[self.image_input])
        outputs = self.network.run(tensors, self._call, after)
        values, scores = self._explained(outputs, classes)
        return ops.sum(values), (ops.cast(seen["features"], "float32"), values, scores)

    def _input_dtype(self, number: int) -> str:
        """Return the type that an input is computed in: pixels as floats, for their gradient."""
        dtype = str(self.network.model.inputs[number].dtype)
        return "float32" if dtype == "uint8" else dtype

    def _call(self, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = call_in_inference if self.scores is None else self.scores.call
        return call(place, args, kwargs)

    def _explained(self, outputs: Any, classes: Any) -> tuple[Any, Any]:
        """Return what is explained for each image, and the scores of all classes."""
        if self.target is not None:
            values = ops.cast(self.target(outputs), "float32")
            if len(values.shape) != 1:
                raise ValueError(
                    "target must return one number for each image, shape (n,). It returned the "
                    f"shape {tuple(values.shape)}"
                )
            return values, None
        scores = self.scores.of(outputs)  # type: ignore[union-attr]
        top = ops.cast(ops.argmax(scores, axis=-1), "int32")
        chosen = ops.where(classes == _TOP, top, classes)
        return ops.take_along_axis(scores, chosen[:, None], axis=-1)[:, 0], scores

    def _chosen(self, classes: ArrayLike | None, n: int) -> np.ndarray:
        if classes is None:
            return np.full(n, _TOP, "int32")
        if self.target is not None:
            raise ValueError("pass either classes or target: a function has no classes")
        chosen = checked_classes(classes, n, self.classes)
        if chosen.ndim != 1:
            raise ValueError(f"classes must have the shape ({n},). Received: {chosen.shape}")
        return chosen

    def _channels_last(self, maps: np.ndarray | None) -> np.ndarray:
        if maps is None:
            return np.zeros(0, "float32")
        if self.grid is not None:  # further tokens, as that of the class, stand before the patches
            rows, columns = self.grid
            return maps[:, maps.shape[1] - rows * columns :].reshape(len(maps), rows, columns, -1)
        return np.moveaxis(maps, 1, -1) if self.channels_first else maps


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    missing = size - len(array)
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array


def _numbers(tensor: Any, count: int) -> np.ndarray | None:
    return None if tensor is None else np.asarray(ops.convert_to_numpy(tensor))[:count]


def _room(n: int, batch_size: int) -> int:
    """Return for how many images to compile: few sizes, so that nothing is traced often."""
    return min(batch_size, 1 << (n - 1).bit_length())


def probe_of(model: keras.Model, target: Target | None = None, **options: Any) -> Probe:
    """Return a probe of a model, the same one for the same options, so that it is compiled once.

    It lives as long as the model.

    Args:
        model: As for `Probe`.
        target: As for `Probe`; functions are not compared, so with one the probe is a new one.
        **options: As for `Probe`.
    """
    if target is not None or not isinstance(model, keras.Model):
        return Probe(model, target=target, **options)
    if isinstance(options.get("reshape"), list):
        options["reshape"] = tuple(options["reshape"])
    key = (tuple(map(id, model.layers)), *sorted(options.items()))
    # Written past Keras, which would take it for a part of the model.
    probes = model.__dict__.setdefault("_keras_dlcourse_probes", {})
    if key not in probes:
        probes[key] = Probe(model, **options)
    return probes[key]
