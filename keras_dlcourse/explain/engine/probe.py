"""Feature maps, scores and gradients of a model, in one compiled call per batch."""

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
from keras_dlcourse._checks import check_integer
from keras_dlcourse._progress import track
from keras_dlcourse.explain.engine.inputs import check_classes, check_inputs
from keras_dlcourse.explain.engine.scores import Scores, Target
from keras_dlcourse.graph.running import Network, Place, call_in_inference
from keras_dlcourse.graph.tokens import find_features

INPUT = "input"  # instead of a layer name: the image itself
_TOP = -1  # instead of a class: the one with the highest score


@dataclass(frozen=True)
class Found:
    """Results for some images; channels come last.

    Attributes:
        features: Output of the layer, `(n, height, width, channels)`.
        gradients: Gradient of `values` with respect to `features`, of the same shape; empty after
            `forward`.
        values: The explained values, `(n,)`.
        scores: Scores of all classes before softmax, `(n, classes)`; None if `target` is given.
    """

    features: np.ndarray
    gradients: np.ndarray
    values: np.ndarray
    scores: np.ndarray | None


class Probe:
    """Access to one layer of a model.

    Weights are read at each call, so the model may be trained between calls. All batches are padded
    to one size and classes are passed as data, so nothing is traced twice.

    Args:
        model: A functional or Sequential model; it may have nested models and several inputs and
            outputs.
        layer: Name of the layer, see `find_features`; `"input"` for the image itself.
        reshape: Number of rows and columns of patches, for a layer that outputs tokens
            `(n, tokens, channels)`; None infers it.
        target: What to explain instead of a class: a function, using `keras.ops`, from the
            model's outputs to one number per image, shape `(n,)`.
        output: Index or name of the output that holds the classes.
        image_input: Index of the image input; 0 for models with a single input.
        batch_size: Number of images per batch.

    Raises:
        TypeError: If `model` is not a Keras model or an argument has the wrong type.
        ValueError: If the model has no graph, or the layer, output or input does not exist.
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
        batch_size = check_integer("batch_size", batch_size)
        if target is not None and not callable(target):
            raise TypeError(
                "target must be a function from the model's outputs to one number per image. "
                f"Received: {target!r}. Pass classes as classes=."
            )
        self.model = model
        self.network = Network(model)
        count = len(self.network.model.inputs)
        image_input = check_integer("image_input", image_input, 0, count - 1)
        self.image_input, self.batch_size, self.target = image_input, batch_size, target
        self.scores = None if target else Scores(self.network, output)
        self.place: Place | None = None
        self.grid: tuple[int, int] | None = None
        if layer != INPUT:
            heads = self.scores.head if self.scores else ()
            self.place, self.grid = find_features(self.network, layer, image_input, heads, reshape)

    @property
    def classes(self) -> int:
        """Number of classes; 0 if `target` is given."""
        return self.scores.classes if self.scores else 0

    def __call__(self, images: Any, classes: ArrayLike | None = None) -> Found:
        """Compute features, gradients and scores.

        Args:
            images: `(n, height, width, channels)`, prepared as for `model.predict`; for a model
                with several inputs, a list or dict of arrays, as for `predict`.
            classes: One class for all images, or one per image `(n,)`. None uses the class with
                the highest score.

        Raises:
            ValueError: If images or classes do not match the model.
        """
        dtype = self._input_dtype(self.image_input)
        if self.place is None and "float" not in dtype:
            raise ValueError(
                f"input {self.network.model.inputs[self.image_input].name!r} of model "
                f"{self.model.name!r} takes integers ({dtype}), for which there is no gradient. "
                "Use occlusion, which needs no gradient."
            )
        arrays = check_inputs(self.network.model, images)
        chosen = self._check_classes(classes, len(arrays[0]))
        return self._run_batches(self._compute_with_gradient, [chosen, *arrays])

    def forward(self, images: Any, classes: ArrayLike | None = None) -> Found:
        """Compute features and scores, but no gradients."""
        arrays = check_inputs(self.network.model, images)
        chosen = self._check_classes(classes, len(arrays[0]))
        return self._run_batches(self._compute_without_gradient, [chosen, *arrays])

    @property
    def channels_first(self) -> bool:
        """Whether the layer's feature maps are `(n, channels, height, width)`."""
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

    def _compute_without_gradient(self, arrays: list[np.ndarray]) -> tuple[Any, Any]:
        return None, self._forward(*arrays)

    def _compute_with_gradient(self, arrays: list[np.ndarray]) -> tuple[Any, Any]:
        shape = arrays[1 + self.image_input].shape
        if self.place is not None:
            shape = self.place.shape
            if None in shape[1:]:  # unknown sizes follow from the image size
                shape = tuple(self._forward(*arrays)[0].shape)
        return self._backward(np.zeros((len(arrays[0]), *shape[1:]), "float32"), *arrays)

    def _run_batches(self, compute: Callable[..., Any], arrays: list[np.ndarray]) -> Found:
        """Compute in batches, all padded to one size."""
        parts, room = [], _room(len(arrays[0]), self.batch_size)
        starts = range(0, len(arrays[0]), self.batch_size)
        # A single batch is part of a longer loop that shows its own progress.
        for start in track(iter(starts), len(starts), "Maps") if len(starts) > 1 else starts:
            batch = [array[start : start + self.batch_size] for array in arrays]
            gradients, aside = compute([_pad(array, room) for array in batch])
            parts.append([_numbers(x, len(batch[0])) for x in (gradients, *aside)])
        columns = zip(*parts, strict=True)
        joined = [None if x[0] is None else np.concatenate(x) for x in columns]
        gradients, features, values, scores = joined
        features, gradients = (
            self._move_channels_last(features),
            self._move_channels_last(gradients),
        )
        return Found(features, gradients, values, scores)  # type: ignore[arg-type]

    def _compute(self, shift: Any, classes: Any, *inputs: Any) -> tuple[Any, Any]:
        """Return the sum of the explained values, and (features, values, scores).

        `shift` holds zeros that are added to the layer's output. The gradient with respect to
        `shift` is the gradient with respect to the features, wherever the layer is in the graph.
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
        values, scores = self._explain(outputs, classes)
        return ops.sum(values), (ops.cast(seen["features"], "float32"), values, scores)

    def _input_dtype(self, number: int) -> str:
        """Return the dtype for an input; uint8 pixels become floats, to have a gradient."""
        dtype = str(self.network.model.inputs[number].dtype)
        return "float32" if dtype == "uint8" else dtype

    def _call(self, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = call_in_inference if self.scores is None else self.scores.call
        return call(place, args, kwargs)

    def _explain(self, outputs: Any, classes: Any) -> tuple[Any, Any]:
        """Return the explained value of each image, and the scores of all classes."""
        if self.target is not None:
            values = ops.cast(self.target(outputs), "float32")
            if len(values.shape) != 1:
                raise ValueError(
                    "target must return one number per image, shape (n,). Received: "
                    f"{tuple(values.shape)}."
                )
            return values, None
        scores = self.scores.of(outputs)  # type: ignore[union-attr]
        top = ops.cast(ops.argmax(scores, axis=-1), "int32")
        chosen = ops.where(classes == _TOP, top, classes)
        return ops.take_along_axis(scores, chosen[:, None], axis=-1)[:, 0], scores

    def _check_classes(self, classes: ArrayLike | None, n: int) -> np.ndarray:
        if classes is None:
            return np.full(n, _TOP, "int32")
        if self.target is not None:
            raise ValueError(
                "only one of classes and target may be given: a target function has no classes."
            )
        chosen = check_classes(classes, n, self.classes)
        if chosen.ndim != 1:
            raise ValueError(f"classes must have the shape ({n},). Received: {chosen.shape}.")
        return chosen

    def _move_channels_last(self, maps: np.ndarray | None) -> np.ndarray:
        if maps is None:
            return np.zeros(0, "float32")
        if self.grid is not None:  # extra tokens, such as the class token, precede the patches
            rows, columns = self.grid
            return maps[:, maps.shape[1] - rows * columns :].reshape(len(maps), rows, columns, -1)
        return np.moveaxis(maps, 1, -1) if self.channels_first else maps


def _pad(array: np.ndarray, size: int) -> np.ndarray:
    missing = size - len(array)
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array


def _numbers(tensor: Any, count: int) -> np.ndarray | None:
    return None if tensor is None else np.asarray(ops.convert_to_numpy(tensor))[:count]


def _room(n: int, batch_size: int) -> int:
    """Return the padded batch size; there are few of them, so tracing is rare."""
    return min(batch_size, 1 << (n - 1).bit_length())


def probe_of(model: keras.Model, target: Target | None = None, **options: Any) -> Probe:
    """Return a probe for a model, cached per set of options so that it is compiled once.

    The cache lives as long as the model.

    Args:
        model: As for `Probe`.
        target: As for `Probe`; functions are not compared, so a target always makes a new probe.
        **options: As for `Probe`.
    """
    if target is not None or not isinstance(model, keras.Model):
        return Probe(model, target=target, **options)
    if isinstance(options.get("reshape"), list):
        options["reshape"] = tuple(options["reshape"])
    key = (tuple(map(id, model.layers)), *sorted(options.items()))
    # Bypasses attribute tracking: Keras would treat it as part of the model.
    probes = model.__dict__.setdefault("_keras_dlcourse_probes", {})
    if key not in probes:
        probes[key] = Probe(model, **options)
    return probes[key]
