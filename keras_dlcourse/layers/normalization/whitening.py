"""Uncorrelated features of variance 1, from statistics of the training set."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse import backend
from keras_dlcourse._checks import check_integer, check_number, check_one_of

_BATCH = 256


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class Whitening(keras.layers.Layer):
    """Transform the last axis into uncorrelated features, each with variance 1.

    With the eigenvectors U and eigenvalues L of the covariance, PCA whitening is
    `(x - mean) U (L + epsilon)^(-1/2)`: the principal components, largest first. ZCA whitening
    rotates the result back by U: of all whitened features these are nearest to the input, so that a
    whitened image still looks like an image.

    Call `adapt` on the training set only, before `fit`; the layer is not trained. On images it
    whitens the channels of each pixel; put it between `Flatten` and `Reshape` to whiten whole
    images. To center or standardize without whitening, use `keras.layers.Normalization`.

    Before `adapt` its matrix is NaN: an eager call raises ValueError, and the loss of `fit` is NaN.

    Args:
        kind: `"pca"` or `"zca"`.
        epsilon: Value of 0 or more added to each eigenvalue, in squared units of the input. Larger
            values amplify small noise less.
        components: Number of leading components to keep; None keeps all.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: A tensor of shape `(..., features)`.

    Returns:
        A tensor of shape `(..., components)` for `"pca"`, `(..., features)` for `"zca"`.

    Raises:
        ValueError: If an argument is out of range, or the layer is called before `adapt`.

    Example:
        >>> import numpy as np
        >>> random = np.random.default_rng(0)
        >>> data = random.normal(size=(500, 3)) @ random.normal(size=(3, 3)) + 10
        >>> layer = Whitening("zca", epsilon=0)
        >>> layer.adapt(data)
        >>> np.cov(ops.convert_to_numpy(layer(data)).T).round(2).tolist() == np.eye(3).tolist()
        True

    Reference:
        Kessy, Lewin and Strimmer, "Optimal Whitening and Decorrelation", The American Statistician
        2018, https://arxiv.org/abs/1512.00809
    """

    def __init__(
        self,
        kind: str = "pca",
        epsilon: float = 1e-5,
        components: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kind = check_one_of("kind", kind, ("pca", "zca"))
        self.epsilon = check_number("epsilon", epsilon, least=0)
        self.components = None if components is None else check_integer("components", components)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the statistics, all NaN."""
        features = input_shape[-1]
        if features is None:
            raise ValueError(
                "Whitening needs to know the number of features (the last axis) when it is built. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        if self.components is not None and self.components > features:
            raise ValueError(
                f"components must be at most the number of features, {features}. Received: "
                f"{self.components}"
            )
        kept = self._features_out(features)
        # In float32 under every dtype policy, like the computation itself.
        state = {"initializer": keras.initializers.Constant(float("nan")), "trainable": False}
        state |= {"dtype": "float32", "autocast": False}
        self.mean = self.add_weight(name="mean", shape=(features,), **state)
        self.whitening = self.add_weight(name="whitening", shape=(features, kept), **state)
        self.colouring = self.add_weight(name="colouring", shape=(kept, features), **state)

    def adapt(self, data: Any) -> None:
        """Compute the statistics from data, which should be the training set only.

        Mean and covariance are accumulated in float64 in one pass over the batches.

        Args:
            data: Inputs `(n, ..., features)` of any kind that `kd.data.take` accepts, as the layer
                will receive them: after the normalization of a `kd.data.Pipeline`.

        Raises:
            TypeError: If the kind of `data` is not supported.
            ValueError: If `data` has fewer than two rows, values that are not finite or another
                number of features than before, or if a component has no variance and `epsilon` is
                0.
        """
        # Not at the top: as the first import, this module would bring in Keras, hence the layers
        # (`_registration`), before it has defined anything itself.
        from keras_dlcourse.data.stream import stream

        moments = _Moments()
        for inputs, _ in stream(data, _BATCH):
            if not self.built:
                self.build((None, *inputs.shape[1:]))
            if inputs.shape[-1] != self.mean.shape[0]:
                raise ValueError(
                    f"data must have {self.mean.shape[0]} features (the last axis), for which the "
                    f"layer was built. Received: shape {inputs.shape}"
                )
            moments.add(inputs.reshape(-1, inputs.shape[-1]))
        variances, directions = _principal(moments.covariance())
        kept = slice(self.components)
        variances, directions = variances[kept] + self.epsilon, directions[:, kept]
        if variances.min() <= np.finfo("float64").eps * len(moments.mean) * variances.max():
            raise ValueError(
                f"data has no variance in some of the {len(variances)} components, so that they "
                "cannot be scaled to variance 1. Use an epsilon above 0, or fewer components."
            )
        deviations = np.sqrt(variances)
        whitening, colouring = directions / deviations, (directions * deviations).T
        if self.kind == "zca":
            whitening, colouring = whitening @ directions.T, directions @ colouring
        self.mean.assign(moments.mean)
        self.whitening.assign(whitening)
        self.colouring.assign(colouring)

    def call(self, inputs: Any) -> Any:
        """Return `inputs`, whitened."""
        if backend.is_known(inputs):
            self._check_adapted()
        centred = ops.subtract(ops.cast(inputs, "float32"), self.mean)
        return ops.cast(ops.matmul(centred, self.whitening), self.compute_dtype)

    def inverse(self, outputs: Any) -> Any:
        """Return the layer's inputs, as far as the kept `components` determine them.

        Args:
            outputs: Outputs of the layer, a tensor or an array.

        Returns:
            A tensor of shape `(..., features)`.

        Raises:
            ValueError: If the layer has not been adapted.
        """
        self._check_adapted()
        outputs = ops.cast(ops.convert_to_tensor(outputs), "float32")
        coloured = ops.add(ops.matmul(outputs, self.colouring), self.mean)
        return ops.cast(coloured, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape with the kept components."""
        return (*input_shape[:-1], self._features_out(input_shape[-1]))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer; the statistics are weights."""
        return {
            **super().get_config(),
            "kind": self.kind,
            "epsilon": self.epsilon,
            "components": self.components,
        }

    def _features_out(self, features: int | None) -> int | None:
        return features if self.kind == "zca" or self.components is None else self.components

    def _check_adapted(self) -> None:
        # Check the weights, not a flag: `load_weights` and `set_weights` also adapt a layer.
        if not self.built or np.isnan(ops.convert_to_numpy(self.mean)).any():
            raise ValueError(
                f"{self.name} has no statistics yet. Call adapt(data) with the training set first."
            )


class _Moments:
    """Mean and covariance of rows that arrive in batches.

    Each batch is centered by its own mean, then corrected for the difference from the mean so far:
    plain sums of squares of values far from 0 would lose all precision.

    Reference:
        Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", The American
        Statistician 1983, https://doi.org/10.1080/00031305.1983.10483115
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = np.zeros(1)
        self.scatter = np.zeros((1, 1))

    def add(self, rows: np.ndarray) -> None:
        """Add rows `(n, features)`."""
        rows = rows.astype("float64")
        mean = rows.mean(axis=0)
        rows -= mean
        apart = mean - self.mean
        total = self.count + len(rows)
        between = np.outer(apart, apart) * (self.count * len(rows) / total)
        self.scatter = self.scatter + rows.T @ rows + between
        self.mean = self.mean + apart * (len(rows) / total)
        self.count = total

    def covariance(self) -> np.ndarray:
        """Return the unbiased covariance, `(features, features)`."""
        if self.count < 2:
            raise ValueError(f"data must have at least 2 rows. Received: {self.count}")
        if not np.isfinite(self.scatter).all():
            raise ValueError("data must be finite. Received: data with NaN or infinite values")
        return self.scatter / (self.count - 1)


def _principal(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues, largest first, and eigenvectors in columns.

    The largest entry of each vector is positive, as in scikit-learn: otherwise signs are arbitrary.
    """
    variances, directions = np.linalg.eigh(covariance)
    variances, directions = np.maximum(variances[::-1], 0), directions[:, ::-1]
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(len(variances))]
    return variances, directions * np.where(largest < 0, -1, 1)
