"""Train a network with several outputs on one combined loss."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_dlcourse.losses import GradNorm, MultitaskLoss
from keras_dlcourse.models.wrappers._augmenting import AugmentingModel
from keras_dlcourse.models.wrappers._grad_norm import Balance

_SHARED = "what goes into the shared layer"  # extra entry beside the outputs in a training step


class MultitaskModel(AugmentingModel):
    """Wrapper that trains a model with a `MultitaskLoss`.

    Call `compile` and `fit` on the wrapper; save and export the model itself, which is trained in
    place. State that only training needs (learned weights, the step count) is kept in the wrapper.
    The history and the progress bar show the unweighted loss of each task as `<task>_loss`, and
    weights that change during training as `<task>_weight`.

    If labels may be missing, pass metrics to `compile` as `weighted_metrics`: rows without labels
    then have weight 0.

    Args:
        model: A model whose outputs are a dictionary with an entry for each task.
        loss: The loss to train with.
        joint_metrics: Metrics of several outputs together, called with the dictionaries of labels
            and outputs, such as `kd.metrics.LocalizationAccuracy`.
        augmentation: A layer that transforms images and labels in each training step, such as
            `kd.layers.RandomAffine`. It is called with a dictionary of the input as `"images"` and
            all labels.

    Raises:
        TypeError: If `model` is not a Keras model, `loss` is not a `MultitaskLoss`, or
            `augmentation` is not a Keras layer.
        ValueError: If the model lacks an output named after a task, or the layer that a `GradNorm`
            names.

    Example:
        >>> import numpy as np
        >>> x = keras.Input((4,))
        >>> model = keras.Model(x, {"label": keras.layers.Dense(3, "softmax")(x),
        ...                         "box": keras.layers.Dense(4, "sigmoid")(x)})
        >>> loss = MultitaskLoss({"label": "sparse_categorical_crossentropy", "box": "mse"}, 0.5)
        >>> trainer = MultitaskModel(model, loss)
        >>> trainer.compile("adam", metrics={"label": "accuracy"})
        >>> labels = {"label": np.zeros(8, "int32"), "box": np.ones((8, 4), "float32")}
        >>> history = trainer.fit(np.ones((8, 4)), labels, verbose=0).history
        >>> sorted(history)
        ['box_loss', 'label_accuracy', 'label_loss', 'loss']
    """

    def __init__(
        self,
        model: keras.Model,
        loss: MultitaskLoss,
        joint_metrics: Sequence[keras.metrics.Metric] = (),
        augmentation: keras.layers.Layer | None = None,
    ) -> None:
        if not isinstance(model, keras.Model):
            raise TypeError(f"model must be a keras.Model. Received: {type(model).__name__}")
        if not isinstance(loss, MultitaskLoss):
            raise TypeError(f"loss must be a MultitaskLoss. Received: {type(loss).__name__}")
        loss.check_names("the output of the model", getattr(model, "output", None))
        super().__init__(augmentation, name=f"multitask_{model.name}")
        self.model = model
        self.multitask_loss = loss
        self.joint_metrics = list(joint_metrics)
        self.loss_means = _means(loss, "loss")
        self.weight_means = _means(loss, "weight") if loss.is_moving else {}
        self.steps = self.add_weight((), "zeros", "int32", trainable=False, name="steps")
        self.without_labels = self.add_weight(
            (len(loss.tasks),), "zeros", "int32", trainable=False, name="batches_without_labels"
        )
        if loss.is_learned:
            self.log_variances = self.add_weight((len(loss.tasks),), "zeros", name="log_variances")
        is_balanced = isinstance(loss.alpha, GradNorm)
        self.balance = Balance(self, model, loss) if is_balanced else None
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the outputs of the model."""
        if self.balance is None or not training:
            return self.model(inputs, training=training)
        shared = self.balance.trunk(inputs, training=training)
        return {**self.balance.tail(shared, training=training), _SHARED: shared}

    def weights_of_tasks(self) -> dict[str, Any]:
        """Return the current weight of each task."""
        loss = self.multitask_loss
        if self.balance is not None:
            weights = ops.convert_to_tensor(self.balance.weights)
        elif loss.is_learned:
            weights = ops.exp(-ops.convert_to_tensor(self.log_variances))
        else:
            return loss.weights_at(self.steps)
        return {task: weights[number] for number, task in enumerate(loss.tasks)}

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the weighted sum of the task losses, plus the losses added by layers."""
        loss = self.multitask_loss
        losses, counts = loss.of_tasks(y, y_pred, sample_weight)
        weights = self.weights_of_tasks()
        if self.balance is not None and _SHARED in y_pred:
            self.balance.update(y_pred[_SHARED], y, sample_weight)
        total = loss.sum_losses(losses, weights)
        if loss.is_learned:
            total = total + ops.sum(self.log_variances) / 2
        for task, mean in self.loss_means.items():
            mean.update_state(losses[task], sample_weight=counts[task])
        for task, mean in self.weight_means.items():
            mean.update_state(weights[task])
        if training:
            empty = ops.stack([counts[task] == 0 for task in loss.tasks])
            self.without_labels.assign_add(ops.cast(empty, "int32"))
            self.steps.assign_add(1)
        return total + sum((ops.sum(extra) for extra in self.losses), start=0.0)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Update the metrics, with weight 0 for rows without labels."""
        y_pred = {name: output for name, output in y_pred.items() if name != _SHARED}
        for metric in self.joint_metrics:
            metric.update_state(y, y_pred)
        y, sample_weight = self.multitask_loss.fill_gaps(y, y_pred, sample_weight)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def fit(self, *arguments: Any, callbacks: Any = None, **options: Any) -> Any:
        """Train the model. Arguments are as for `keras.Model.fit`; `callbacks` is keyword-only.

        Warns:
            UserWarning: Once, if some batches had no labels for a task.
        """
        given = callbacks if isinstance(callbacks, list | tuple) else [callbacks] * bool(callbacks)
        return super().fit(*arguments, callbacks=[*given, _MissingLabels()], **options)


class _MissingLabels(keras.callbacks.Callback):
    """Warns once per task if batches had no labels for it."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        tasks = self.model.multitask_loss.tasks
        batches = self.model.without_labels.numpy()
        for task, count in zip(tasks, batches, strict=True):
            if count and task not in self._said:
                self._said.add(task)
                warnings.warn(
                    f"{count} batches had no labels for task {task!r}, so its loss is 0 in them.",
                    stacklevel=2,
                )


def _means(loss: MultitaskLoss, of: str) -> dict[str, keras.metrics.Mean]:
    return {task: keras.metrics.Mean(name=f"{task}_{of}") for task in loss.tasks}
