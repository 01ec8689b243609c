"""Gradients and compiled functions: the same few promises on every backend."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse import backend

X = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
WEIGHTS = np.array([1.0, -2.0, 3.0], "float32")


def _variable(value: Any) -> keras.Variable:
    return keras.Variable(np.array(value, "float32"))


def _numbers(structure: Any) -> Any:
    return keras.tree.map_structure(ops.convert_to_numpy, structure)


def test_the_gradient_is_that_of_the_first_argument_alone() -> None:
    scale = _variable(2.0)

    def function(x: Any, weights: Any) -> tuple[Any, Any]:
        cubes = x**3 * weights * scale
        return ops.sum(cubes), (cubes, None)

    run = backend.compiled(backend.gradient(function), [scale])
    for factor in (2.0, 5.0):  # what variables hold is read at each call
        scale.assign(factor)
        slope, (cubes, nothing) = run(X, WEIGHTS)
        np.testing.assert_allclose(_numbers(slope), 3 * X**2 * WEIGHTS * factor, rtol=1e-5)
        np.testing.assert_allclose(_numbers(cubes), X**3 * WEIGHTS * factor, rtol=1e-5)
        assert nothing is None
    np.testing.assert_array_equal(_numbers(scale), 5)


def test_what_has_no_influence_has_a_gradient_of_0() -> None:
    weights = _variable(WEIGHTS)
    for function in (
        lambda x: (ops.sum(weights * 2.0), x),  # of something else that could be trained
        lambda x: (ops.sum(ops.ones_like(x)), x),  # of nothing at all
    ):
        slope, same = backend.compiled(backend.gradient(function), [weights])(X)
        np.testing.assert_array_equal(_numbers(slope), np.zeros_like(X))
        np.testing.assert_array_equal(_numbers(same), X)


def test_what_comes_out_is_a_plain_array_of_numbers() -> None:
    """On PyTorch too, where a tensor that hangs on a graph cannot become one."""
    weights = _variable(WEIGHTS)
    slope, products = backend.gradient(lambda x: (ops.sum(x * weights), x * weights))(
        ops.convert_to_tensor(X)
    )
    forward = backend.compiled(lambda x: [x * weights], [weights])
    for found, expected in ((slope, X * 0 + WEIGHTS), (products, X * WEIGHTS)):
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(forward(X)[0]), X * WEIGHTS, rtol=1e-6)


def test_a_compiled_function_takes_other_shapes_and_types() -> None:
    run = backend.compiled(lambda x, row: (ops.sum(x, axis=0), x[row]), [])
    for size in (2, 4, 2):
        x = np.arange(3.0 * size, dtype="float32").reshape(size, 3)
        total, last = run(x, np.array(size - 1, "int32"))
        np.testing.assert_array_equal(_numbers(total), x.sum(0))
        np.testing.assert_array_equal(_numbers(last), x[-1])
