"""Training a network on images and labels that a layer changes together."""

from __future__ import annotations

from typing import Any

import keras

from keras_dlcourse.models.wrappers._augmenting import AugmentingModel

_DRAW_BETA = (keras.layers.MixUp, keras.layers.CutMix)


class AugmentedModel(AugmentingModel):
    """A model in training on augmented inputs and labels: fit this, save and export the model.

    A layer that changes images only stands best within the model. This is for those that need the
    labels as well: `keras.layers.MixUp` and `CutMix`, `kd.layers.ClassSpecific`, or masks that move
    with their images. They run within the training step, on any backend; nothing is augmented in
    `evaluate` and `predict`. The model is trained in place and stays a plain one.

    Keras's mixing layers leave sample weights alone, so a weight would stay with an example of
    which half is another one. Here labels are weighted before they are mixed: each part of a
    mixture has the weight of its own. With `sample_weight` or `class_weight`, labels of rank 2 must
    therefore be one-hot.

    Args:
        model: The model.
        augmentation: A layer, called with a dictionary of `"images"` and of the labels. Mixing
            needs one-hot labels.
        label: The entry that the labels are. Keras's layers know `"labels"` and
            `"segmentation_masks"`; labels that are a dictionary keep their own names.

    Raises:
        TypeError: If these are no model and no layer.

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
        # TensorFlow draws Beta by an operation that XLA does not know, and on GPUs Keras takes XLA
        # unless it is told.
        is_beta_of_tensorflow = keras.backend.backend() == "tensorflow" and isinstance(
            augmentation, _DRAW_BETA
        )
        self.supports_jit = not is_beta_of_tensorflow
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return what the model returns."""
        return self.model(inputs, training=training)
