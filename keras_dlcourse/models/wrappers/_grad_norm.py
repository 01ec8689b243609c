"""GradNorm in training: the task weights, and how each batch updates them."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse import backend
from keras_dlcourse.losses import GradNorm, MultitaskLoss


class Balance:
    """Task weights, stored among the weights of the training wrapper.

    Args:
        owner: The training wrapper, which owns the variables.
        model: The functional model that is trained.
        loss: Its loss, with a `GradNorm` as alpha.

    Raises:
        ValueError: If some path bypasses the shared layer, or the layer is not trained.
    """

    def __init__(self, owner: keras.Model, model: keras.Model, loss: MultitaskLoss) -> None:
        self.loss = loss
        self.rule: GradNorm = loss.alpha
        self.trunk, self.tail, kernel = _cut(model, self.rule.shared)
        self.place = [id(variable) for variable in self.tail.trainable_variables].index(id(kernel))
        shape = (len(loss.tasks),)
        self.weights = owner.add_weight(shape, "ones", trainable=False, name="task_weights")
        self.first = owner.add_weight(shape, "zeros", trainable=False, name="first_losses")

    def update(self, features: Any, y: Any, sample_weight: Any) -> None:
        """Update the weights with one batch; `features` are the inputs of the shared layer."""
        tail, tasks = self.tail, list(self.loss.tasks)
        frozen = [variable.value for variable in tail.non_trainable_variables]
        trained = [variable.value for variable in tail.trainable_variables]
        features = ops.stop_gradient(features)

        def losses_of(kernel: Any) -> tuple[dict[str, Any], dict[str, Any]]:
            values = [*trained[: self.place], kernel, *trained[self.place + 1 :]]
            # The updated states, such as moving averages, are discarded.
            outputs, _ = tail.stateless_call(values, frozen, features, training=True)
            return self.loss.of_tasks(y, outputs, sample_weight)

        def gradient_of(task: str) -> tuple[Any, Any]:
            def run(kernel: Any) -> tuple[Any, Any]:
                losses, counts = losses_of(kernel)
                return losses[task], (losses[task], counts[task])

            return backend.gradient(run)(ops.stop_gradient(trained[self.place]))

        found = [gradient_of(task) for task in tasks]
        sizes = ops.stack([ops.sqrt(ops.sum(ops.square(slope))) for slope, _ in found])
        losses = ops.stack([loss for _, (loss, _) in found])
        is_whole = ops.all(ops.stack([count for _, (_, count) in found]) > 0)
        first, weights = self.first.value, self.weights.value
        first = ops.where((first == 0) & is_whole, losses, first)
        # The weights are constants in the loss, so no gradient must flow through them.
        wanted = ops.stop_gradient(balance_weights(sizes, losses, first, weights, self.rule))
        usable = is_whole & ops.all(ops.isfinite(wanted))
        moved = weights + self.rule.rate * (wanted - weights)
        self.first.assign(ops.stop_gradient(first))
        self.weights.assign(ops.where(usable, moved, weights))


def balance_weights(sizes: Any, losses: Any, first: Any, weights: Any, rule: GradNorm) -> Any:
    """Return the weights at which the gradients have the target norms, `(tasks,)`.

    Args:
        sizes: Norms of the gradients of the unweighted task losses.
        losses: The task losses.
        first: The task losses of the first batch.
        weights: The current weights.
        rule: Determines how strongly a task that lags behind is boosted.
    """
    progress = losses / first
    wanted = ops.mean(weights * sizes) * (progress / ops.mean(progress)) ** rule.restoring
    weights = wanted / sizes
    return weights * (weights.shape[0] / ops.sum(weights))


def _cut(model: keras.Model, name: str) -> tuple[keras.Model, keras.Model, Any]:
    """Return the model before a layer, the model from that layer on, and the layer's kernel."""
    try:
        layer = model.get_layer(name)
        keras.Model(layer.output, model.output)  # raises if some path bypasses the layer
        trunk, tail = keras.Model(model.inputs, layer.input), keras.Model(layer.input, model.output)
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"shared={name!r} must name a layer of {model.name!r} that no path bypasses. "
            f"Keras reported: {error}"
        ) from error
    if not layer.trainable_variables:
        raise ValueError(f"shared={name!r} must name a layer with trainable weights.")
    return trunk, tail, layer.trainable_variables[0]
