"""Siamese networks: two or more branches with shared weights, whose outputs are compared."""

from __future__ import annotations

import keras
from keras import layers, ops

from keras_dlcourse._checks import check_integer, check_one_of
from keras_dlcourse.losses.embedding._distances import paired_distances

OUTPUTS = ("distance", "score", "embeddings")
_NAMES = {2: ("left", "right"), 3: ("anchor", "positive", "negative")}


def Siamese(
    backbone: keras.Model, output: str = "distance", branches: int = 2, name: str = "siamese"
) -> keras.Model:
    """Apply one network to several images and compare its outputs.

    All branches share their layers, so there is one set of weights, whose gradient is the sum over
    the branches. Training updates `backbone`: deploy it, and compare its vectors on the device.

    Args:
        backbone: A functional or Sequential model from an image to a vector `(batch, dimensions)`,
            such as one from `kd.models.embedding_model`.
        output: Output of the model. `"distance"`, `(batch, 1)`: the Euclidean distance between the
            two vectors, for `kd.losses.ContrastiveLoss`. `"score"`, `(batch, 1)`: from 0 to 1, a
            trained weighting of their absolute difference, for `binary_crossentropy` with 1 for
            "the same" (`kd.data.PairSampler(different=0)`). `"embeddings"`,
            `(batch, branches, dimensions)`, for `kd.losses.TripletLoss(mining=None)` and
            `ContrastiveLoss`.
        branches: Number of images; values other than 2 require `"embeddings"`.
        name: Name of the model.

    Returns:
        A functional model with one input for each branch. The inputs are named `left` and `right`;
        `anchor`, `positive` and `negative`; or else `branch_1` and so on.

    Raises:
        TypeError: If `backbone` is not a Keras model.
        ValueError: If `backbone` does not map one input to one vector, or an argument is out of
            range.

    Example:
        >>> import numpy as np
        >>> backbone = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(),
        ...                              layers.Dense(4)])
        >>> model = Siamese(backbone)
        >>> image = np.ones((2, 8, 8, 1), "float32")
        >>> model.predict([image, 2 * image], verbose=0).shape
        (2, 1)
        >>> bool(np.allclose(model.predict([image, image], verbose=0), 0))
        True

    Reference:
        Bromley et al. (1993), Signature Verification using a "Siamese" Time Delay Neural Network;
        Hadsell, Chopra and LeCun (2006), Dimensionality Reduction by Learning an Invariant Mapping,
        https://doi.org/10.1109/CVPR.2006.100 (distance); Koch, Zemel and Salakhutdinov (2015),
        Siamese Neural Networks for One-shot Image Recognition (score)
    """
    check_one_of("output", output, OUTPUTS)
    branches = check_integer("branches", branches)
    if branches < 2 or (branches > 2 and output != "embeddings"):
        raise ValueError(
            "branches must be 2, or 2 or more if output='embeddings'. Received: "
            f"branches={branches} with output={output!r}"
        )
    shape = _check_input(backbone)
    names = _NAMES.get(branches, tuple(f"branch_{k}" for k in range(1, branches + 1)))
    inputs = [keras.Input(shape, name=each, dtype=backbone.inputs[0].dtype) for each in names]
    vectors = [backbone(each) for each in inputs]
    if output == "embeddings":
        outputs = ops.stack(vectors, axis=1)
    elif output == "distance":
        outputs = ops.expand_dims(paired_distances(False, *vectors), axis=-1)
    else:
        apart = ops.abs(ops.subtract(*vectors))
        outputs = layers.Dense(1, activation="sigmoid", dtype="float32", name="score")(apart)
    return keras.Model(inputs, outputs, name=name)


def _check_input(backbone: keras.Model) -> tuple[int | None, ...]:
    """Return the input shape of a network, after checking that it outputs one vector."""
    if not isinstance(backbone, keras.Model):
        raise TypeError(f"backbone must be a keras.Model. Received: {type(backbone).__name__}")
    inputs, outputs = getattr(backbone, "inputs", None), getattr(backbone, "outputs", None)
    if not inputs or not outputs:
        raise ValueError(
            f"backbone {backbone.name!r} must be built. Give it an input shape (keras.Input as the "
            "first layer)."
        )
    if len(inputs) != 1 or len(outputs) != 1 or len(outputs[0].shape) != 2:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in outputs)
        raise ValueError(
            "backbone must map one input to one vector (batch, dimensions). Received: "
            f"{backbone.name!r} with {len(inputs)} inputs and outputs of shape {shapes}. "
            "kd.models.embedding_model(backbone, dimensions) returns a suitable model."
        )
    return tuple(inputs[0].shape[1:])
