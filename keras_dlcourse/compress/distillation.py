"""Distillation: a small network learns from the answers of a large one."""

from __future__ import annotations

import numbers
from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import positive_float
from keras_dlcourse.graph.flat import copy_of
from keras_dlcourse.layers import FakeQuantize
from keras_dlcourse.layers._remade import activation_name


def distill(
    teacher: keras.Model,
    student: keras.Model,
    alpha: float = 0.1,
    temperature: float = 3.0,
    from_logits: bool | None = None,
) -> Distiller:
    """Return a model that trains a student by a teacher's answers and by the labels.

    Compile and fit it as any model, with the loss that the student would have. It learns from

        alpha * loss(labels, student)
        + (1 - alpha) * temperature**2 * KL(softmax(teacher / T), softmax(student / T))

    where the second line works on logits. A temperature T above 1 shows which wrong classes the
    teacher finds likely. It shrinks that line's gradients by T**2, which the factor makes up for,
    so that `alpha` means the same at every temperature.

    The student is trained in place and stays a plain model: save it, prune it, make it
    quantization-aware or export it by itself. A student may itself be pruned or
    quantization-aware.

    Args:
        teacher: A trained classifier with the classes of the student; left as it is, and computed
            as in inference.
        student: A built classifier of the same inputs.
        alpha: Weight of the labels, from 0 (the teacher alone) to 1 (plain training).
        temperature: What logits are divided by, above 0; 2 to 10 is usual.
        from_logits: Whether both models return logits; False if both return probabilities, whose
            logarithm is then taken. None looks at their last layers.

    Returns:
        A `Distiller`, a `keras.Model` whose outputs are the student's.

    Raises:
        TypeError: If one is no Keras model.
        ValueError: If an argument is out of its range, or the two models do not fit.

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
            "teacher and student must have outputs of one shape. Received: "
            f"{teacher.output_shape} and {student.output_shape}"
        )
    is_number = isinstance(alpha, numbers.Real) and not isinstance(alpha, bool)
    if not is_number or not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be from 0 to 1. Received: {alpha!r}")
    positive_float("temperature", temperature)
    if from_logits is None:
        kinds = _returns_logits(teacher), _returns_logits(student)
        if kinds[0] != kinds[1]:
            which = ("logits", "probabilities") if kinds[0] else ("probabilities", "logits")
            raise ValueError(
                f"the teacher returns {which[0]} and the student {which[1]}: let both end in a "
                "softmax, or neither"
            )
        from_logits = kinds[0]
    return Distiller(teacher, student, float(alpha), float(temperature), bool(from_logits))


class Distiller(keras.Model):
    """A student in training; made by `distill`.

    Args:
        teacher: As for `distill`.
        student: As for `distill`.
        alpha: As for `distill`.
        temperature: As for `distill`.
        from_logits: As for `distill`.
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
        # A copy: to freeze the caller's own would be a surprise.
        self.teacher = _copied(teacher)
        self.teacher.trainable = False
        self.distillation = keras.metrics.Mean(name="distillation_loss")
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return what the student returns."""
        return self.student(inputs, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the mixture of both losses in training, the student's own loss otherwise."""
        own = super().compute_loss(x, y, y_pred, sample_weight, training)
        answers = ops.stop_gradient(self.teacher(x, training=False))
        distance = self.divergence(answers, y_pred, sample_weight)
        self.distillation.update_state(distance)
        if not training or self.alpha == 1:
            return own
        # What regularizers add is neither the labels' nor the teacher's: it counts whole.
        extra = sum(self.losses, start=0.0)
        return self.alpha * (own - extra) + (1 - self.alpha) * distance + extra


class _SoftenedDivergence(keras.losses.Loss):
    """KL(softmax(teacher / T), softmax(student / T)) * T**2, of outputs `(batch, classes)`."""

    def __init__(self, temperature: float, from_logits: bool) -> None:
        super().__init__(name="softened_divergence")
        self.temperature, self.from_logits = temperature, from_logits

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return `(batch,)`, given what the teacher and the student return."""
        logits = [ops.cast(answers, "float32") for answers in (y_true, y_pred)]
        if not self.from_logits:  # softmax takes no notice of what all logits have in common
            logits = [ops.log(ops.maximum(answers, keras.config.epsilon())) for answers in logits]
        one, other = (ops.log_softmax(values / self.temperature, axis=-1) for values in logits)
        return self.temperature**2 * ops.sum(ops.exp(one) * (one - other), axis=-1)


def _check_classifier(argument: str, model: Any) -> None:
    if not isinstance(model, keras.Model):
        raise TypeError(f"{argument} must be a keras.Model. Received: {type(model).__name__}")
    if not model.built or not isinstance(getattr(model, "output_shape", None), tuple):
        raise ValueError(
            f"{argument} {model.name!r} must be built and have one output: give it an input shape "
            "(keras.Input as the first layer)"
        )
    shape = model.output_shape
    if len(shape) != 2 or shape[-1] is None or shape[-1] < 2:
        raise ValueError(
            f"{argument} must be a classifier with an output of shape (batch, classes). Received: "
            f"an output of shape {shape}"
        )


def _copied(model: keras.Model) -> keras.Model:
    """Return a copy of a model, not compiled, also of a subclassed one that has a config."""
    if isinstance(model, keras.Sequential) or hasattr(model, "_nodes_by_depth"):
        return copy_of(model)
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
