"""Features without correlation and of variance 1, by statistics of the training part."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse import backend
from keras_dlcourse._checks import is_real, one_of, positive_int
from keras_dlcourse.data.stream import stream

_BATCH = 256


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class Whitening(keras.layers.Layer):
    """Turn the last axis into features without correlation, each of variance 1.

    With the eigenvectors U and eigenvalues L of the covariance, PCA whitening is
    `(x - mean) U (L + epsilon)^(-1/2)`: the principal components, the largest first. ZCA whitening
    turns the result back by U: of all whitened features these are nearest to the input, so that a
    whitened image still looks like one.

    `adapt` it on the training part only, before `fit`; it is not trained. On images it whitens the
    channels of a pixel; put it between `Flatten` and `Reshape` to whiten whole images. To centre or
    to standardise without whitening, `keras.layers.Normalization` is there.

    Before `adapt` its matrix is NaN: a call on numbers raises, and the loss of a fit is NaN.

    Args:
        kind: `"pca"` or `"zca"`.
        epsilon: What is added to each eigenvalue, in squared units of the input; 0 or more. The
            larger, the less is small noise blown up.
        components: How many leading components are kept; all if None.
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
        self.kind = one_of("kind", kind, ("pca", "zca"))
        if not is_real(epsilon) or not 0 <= epsilon < float("inf"):
            raise ValueError(f"epsilon must be a finite number of 0 or more. Received: {epsilon!r}")
        self.epsilon = float(epsilon)
        self.components = None if components is None else positive_int("components", components)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the statistics, all NaN."""
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
        # In float32 under every policy, as is what is computed with them.
        state = {"initializer": keras.initializers.Constant(float("nan")), "trainable": False}
        state |= {"dtype": "float32", "autocast": False}
        self.mean = self.add_weight(name="mean", shape=(features,), **state)
        self.whitening = self.add_weight(name="whitening", shape=(features, kept), **state)
        self.colouring = self.add_weight(name="colouring", shape=(kept, features), **state)

    def adapt(self, data: Any) -> None:
        """Take the statistics from data: the training part only.

        Mean and covariance are gathered in float64 in one pass over the batches.

        Args:
            data: Inputs `(n, ..., features)` in anything that `kd.data.take` takes, as the layer
                will see them: after the normalization of a `kd.data.Pipeline`.

        Raises:
            TypeError: If `data` is of another kind.
            ValueError: If there are fewer than two rows, values that are not finite or another
                number of features than before, or if there is no variance in a component and
                `epsilon` is 0.
        """
        moments = _Moments()
        for inputs, _ in stream(data, _BATCH):
            if not self.built:
                self.build((None, *inputs.shape[1:]))
            if inputs.shape[-1] != self.mean.shape[0]:
                raise ValueError(
                    f"data must have {self.mean.shape[0]} features (the last axis), as the layer "
                    f"was built for. Received: shape {inputs.shape}"
                )
            moments.add(inputs.reshape(-1, inputs.shape[-1]))
        variances, directions = _principal(moments.covariance())
        kept = slice(self.components)
        variances, directions = variances[kept] + self.epsilon, directions[:, kept]
        if variances.min() <= np.finfo("float64").eps * len(moments.mean) * variances.max():
            raise ValueError(
                f"data have no variance in some of the {len(variances)} components, which cannot "
                "be scaled to 1: give an epsilon above 0, or fewer components."
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
        """Return what the layer was given, as far as `components` have kept it.

        Args:
            outputs: What the layer returned, a tensor or an array.

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
        """Return the shape with the components that are kept."""
        return (*input_shape[:-1], self._features_out(input_shape[-1]))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again; the statistics are weights."""
        return {
            **super().get_config(),
            "kind": self.kind,
            "epsilon": self.epsilon,
            "components": self.components,
        }

    def _features_out(self, features: int | None) -> int | None:
        return features if self.kind == "zca" or self.components is None else self.components

    def _check_adapted(self) -> None:
        # By the weights and not by a note: `load_weights` and `set_weights` adapt a layer, too.
        if not self.built or np.isnan(ops.convert_to_numpy(self.mean)).any():
            raise ValueError(
                f"{self.name} has no statistics yet: call adapt(data) with the training part first."
            )


class _Moments:
    """Mean and covariance of rows that come in batches.

    Each batch is centred by its own mean, and corrected by how far that is from the mean so far:
    sums of squares far from 0 would lose all digits.

    Reference:
        Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", The American
        Statistician 1983, https://doi.org/10.1080/00031305.1983.10483115
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = np.zeros(1)
        self.scatter = np.zeros((1, 1))

    def add(self, rows: np.ndarray) -> None:
        """Count `(n, features)` in."""
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
            raise ValueError(f"data must hold 2 rows or more. Received: {self.count}")
        if not np.isfinite(self.scatter).all():
            raise ValueError("data must be finite. Received: NaN or infinity among its values")
        return self.scatter / (self.count - 1)


def _principal(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues, the largest first, and eigenvectors in columns.

    The largest entry of each vector is positive, as in scikit-learn: else signs would be chance.
    """
    variances, directions = np.linalg.eigh(covariance)
    variances, directions = np.maximum(variances[::-1], 0), directions[:, ::-1]
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(len(variances))]
    return variances, directions * np.where(largest < 0, -1, 1)
