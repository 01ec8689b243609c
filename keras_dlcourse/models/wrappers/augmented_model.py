"""Train a network on images and labels that are augmented together by a layer."""

from __future__ import annotations

from typing import Any

import keras

from keras_dlcourse.models.wrappers._augmenting import AugmentingModel

_DRAW_BETA = (keras.layers.MixUp, keras.layers.CutMix)


class AugmentedModel(AugmentingModel):
    """Wrapper that trains a model on augmented inputs and labels.

    Call `fit` on the wrapper; save and export the model itself, which is trained in place.

    A layer that changes only images is best placed in the model. This wrapper is for layers that
    also need the labels: `keras.layers.MixUp` and `CutMix`, `kd.layers.ClassSpecific`, or masks
    that move with their images. They run in the training step, on any backend; `evaluate` and
    `predict` augment nothing.

    Keras's mixing layers ignore sample weights, so a mixture would keep the weight of only one of
    its examples. Here, labels are weighted before they are mixed, so each part of a mixture has its
    own weight. With `sample_weight` or `class_weight`, labels of rank 2 must therefore be one-hot.

    Args:
        model: The model to train.
        augmentation: A layer, called with a dictionary of `"images"` and the labels. Mixing needs
            one-hot labels.
        label: Dictionary key under which the layer receives the labels. Keras's layers support
            `"labels"` and `"segmentation_masks"`. Labels that are a dictionary keep their own keys.

    Raises:
        TypeError: If `model` is not a Keras model or `augmentation` is not a Keras layer.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(),
        ...                           keras.layers.Dense(2, "softmax")])
        >>> trainer = AugmentedModel(model, keras.layers.MixUp(0.2))
        >>> trainer.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
        >>> history = trainer.fit(np.ones((8, 4, 4, 1)), np.eye(2)[[0, 1] * 4], verbose=0).history
        >>> sorted(history)
        ['accuracy', 'loss']

    Reference:
        Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018,
        https://arxiv.org/abs/1710.09412
    """

    def __init__(
        self, model: keras.Model, augmentation: keras.layers.Layer, label: str = "labels"
    ) -> None:
        if not isinstance(model, keras.Model):
            raise TypeError(f"model must be a keras.Model. Received: {type(model).__name__}")
        if not isinstance(augmentation, keras.layers.Layer):
            raise TypeError(f"augmentation must be a Keras layer. Received: {augmentation!r}")
        super().__init__(augmentation, label, name=f"augmented_{model.name}")
        self.model = model
        # TensorFlow draws from the Beta distribution with an operation that XLA does not support,
        # and Keras uses XLA on GPUs by default.
        is_beta_of_tensorflow = keras.backend.backend() == "tensorflow" and isinstance(
            augmentation, _DRAW_BETA
        )
        self.supports_jit = not is_beta_of_tensorflow
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the outputs of the model."""
        return self.model(inputs, training=training)
