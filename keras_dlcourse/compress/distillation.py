"""Distillation: train a small network on the outputs of a large one."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_number
from keras_dlcourse.graph.flat import copy_model
from keras_dlcourse.layers import FakeQuantize
from keras_dlcourse.layers._remade import activation_name


def distill(
    teacher: keras.Model,
    student: keras.Model,
    alpha: float = 0.1,
    temperature: float = 3.0,
    from_logits: bool | None = None,
) -> Distiller:
    """Return a model that trains a student on a teacher's outputs and on the labels.

    Compile and fit it like any model, with the loss that the student would use. The training loss
    is

        alpha * loss(labels, student)
        + (1 - alpha) * temperature**2 * KL(softmax(teacher / T), softmax(student / T))

    where T is the temperature and the second term is computed on logits. A temperature above 1
    reveals which wrong classes the teacher considers likely. It also shrinks the gradients of the
    second term by T**2; the factor compensates for this, so that `alpha` means the same at every
    temperature.

    The student is trained in place and stays a plain model: save it, prune it, make it
    quantization-aware or export it on its own. The student may already be pruned or
    quantization-aware.

    Args:
        teacher: A trained classifier with the same classes as the student. It is not modified, and
            it runs in inference mode.
        student: A built classifier with the same inputs.
        alpha: Weight of the labels, from 0 (teacher only) to 1 (plain training).
        temperature: Divisor of the logits, above 0; 2 to 10 is usual.
        from_logits: Whether both models return logits; False if both return probabilities, whose
            logarithms are then used. None detects this from their last layers.

    Returns:
        A `Distiller`, a `keras.Model` with the outputs of the student.

    Raises:
        TypeError: If `teacher` or `student` is not a Keras model.
        ValueError: If an argument is out of range, or the two models do not match.

    Example:
        >>> import numpy as np
        >>> def classifier(width):
        ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width, "relu"),
        ...                              keras.layers.Dense(3, "softmax")])
        >>> student = classifier(2)
        >>> model = distill(classifier(64), student)
        >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> history = model.fit(np.ones((8, 4)), np.zeros(8), verbose=0)
        >>> student.predict(np.ones((1, 4)), verbose=0).shape
        (1, 3)

    Reference:
        Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015,
        https://arxiv.org/abs/1503.02531
    """
    for argument, model in (("teacher", teacher), ("student", student)):
        _check_classifier(argument, model)
    if teacher.output_shape != student.output_shape:
        raise ValueError(
            "teacher and student must have the same output shape. Received: "
            f"{teacher.output_shape} and {student.output_shape}"
        )
    check_number("alpha", alpha, least=0, most=1)
    check_number("temperature", temperature, above=0)
    if from_logits is None:
        kinds = _returns_logits(teacher), _returns_logits(student)
        if kinds[0] != kinds[1]:
            which = ("logits", "probabilities") if kinds[0] else ("probabilities", "logits")
            raise ValueError(
                "teacher and student must both return logits or both return probabilities. "
                f"Received: a teacher that returns {which[0]} and a student that returns "
                f"{which[1]}. End both models in a softmax, or neither."
            )
        from_logits = kinds[0]
    return Distiller(teacher, student, float(alpha), float(temperature), bool(from_logits))


class Distiller(keras.Model):
    """A student in training, created by `distill`.

    Args:
        teacher: See `distill`.
        student: See `distill`.
        alpha: See `distill`.
        temperature: See `distill`.
        from_logits: See `distill`.
    """

    def __init__(
        self,
        teacher: keras.Model,
        student: keras.Model,
        alpha: float,
        temperature: float,
        from_logits: bool,
    ) -> None:
        super().__init__(name=f"distilled_{student.name}")
        self.student = student
        self.alpha = alpha
        self.divergence = _SoftenedDivergence(temperature, from_logits)
        # Copied, because freezing the caller's own model would be a surprise.
        self.teacher = _copy_model(teacher)
        self.teacher.trainable = False
        self.distillation = keras.metrics.Mean(name="distillation_loss")
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the outputs of the student."""
        return self.student(inputs, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the weighted sum of both losses in training, the student's own loss otherwise."""
        own = super().compute_loss(x, y, y_pred, sample_weight, training)
        answers = ops.stop_gradient(self.teacher(x, training=False))
        distance = self.divergence(answers, y_pred, sample_weight)
        self.distillation.update_state(distance)
        if not training or self.alpha == 1:
            return own
        # Regularization losses use neither labels nor teacher, so `alpha` does not scale them.
        extra = sum(self.losses, start=0.0)
        return self.alpha * (own - extra) + (1 - self.alpha) * distance + extra


class _SoftenedDivergence(keras.losses.Loss):
    """KL(softmax(teacher / T), softmax(student / T)) * T**2, for outputs `(batch, classes)`."""

    def __init__(self, temperature: float, from_logits: bool) -> None:
        super().__init__(name="softened_divergence")
        self.temperature, self.from_logits = temperature, from_logits

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss `(batch,)` from the outputs of the teacher and the student."""
        logits = [ops.cast(answers, "float32") for answers in (y_true, y_pred)]
        if not self.from_logits:  # softmax ignores an offset common to all logits
            logits = [ops.log(ops.maximum(answers, keras.config.epsilon())) for answers in logits]
        one, other = (ops.log_softmax(values / self.temperature, axis=-1) for values in logits)
        return self.temperature**2 * ops.sum(ops.exp(one) * (one - other), axis=-1)


def _check_classifier(argument: str, model: Any) -> None:
    if not isinstance(model, keras.Model):
        raise TypeError(f"{argument} must be a keras.Model. Received: {type(model).__name__}")
    if not model.built or not isinstance(getattr(model, "output_shape", None), tuple):
        raise ValueError(
            f"{argument} {model.name!r} must be built and have one output. Give it an input shape "
            "(keras.Input as the first layer)."
        )
    shape = model.output_shape
    if len(shape) != 2 or shape[-1] is None or shape[-1] < 2:
        raise ValueError(
            f"{argument} must be a classifier with output shape (batch, classes). Received: "
            f"output shape {shape}"
        )


def _copy_model(model: keras.Model) -> keras.Model:
    """Return an uncompiled copy of a model; subclassed models need a config."""
    if isinstance(model, keras.Sequential) or hasattr(model, "_nodes_by_depth"):
        return copy_model(model)
    config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    own = {type(model).__name__: type(model)}
    copy = keras.saving.deserialize_keras_object(config, custom_objects=own)
    copy.set_weights(model.get_weights())
    return copy


def _returns_logits(model: keras.Model) -> bool:
    """Whether a model does not end in a softmax."""
    layers = list(model.layers)
    while layers and isinstance(layers[-1], keras.Model):
        layers = list(layers[-1].layers)
    layers = [layer for layer in layers if not isinstance(layer, FakeQuantize)]
    last = layers[-1] if layers else None
    if isinstance(last, keras.layers.Softmax):
        return False
    return activation_name(getattr(last, "activation", None)) != "softmax"
