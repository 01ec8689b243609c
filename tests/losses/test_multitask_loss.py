"""The loss that joins tasks, beside sums written by hand."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_dlcourse import backend
from keras_dlcourse.losses import GradNorm, MultitaskLoss, SmoothL1Loss

ROWS, CLASSES = 6, 3
TASKS = {"label": "sparse_categorical_crossentropy", "box": "mse"}
RNG = np.random.default_rng(0)
TRUE = {
    "label": np.array([0, 1, 2, 1, 0, 2]),
    "box": RNG.uniform(size=(ROWS, 4)).astype("float32"),
}
FOUND = {
    "label": RNG.dirichlet(np.ones(CLASSES), ROWS).astype("float32"),
    "box": RNG.uniform(size=(ROWS, 4)).astype("float32"),
}


def _by_hand(task, rows, weights=None):
    """Return the mean of a task's values over rows, with weights as Keras counts them."""
    if task == "label":
        values = [-np.log(FOUND[task][row, TRUE[task][row]]) for row in rows]
    else:
        values = [np.mean((FOUND[task][row] - TRUE[task][row]) ** 2) for row in rows]
    weights = np.ones(len(rows)) if weights is None else weights
    return float(np.sum(np.array(values) * weights) / len(rows))


def _number(tensor):
    return float(ops.convert_to_numpy(tensor))


@given(alpha=st.floats(0, 1))
def test_two_tasks_by_alpha(alpha):
    expected = alpha * _by_hand("label", range(ROWS)) + (1 - alpha) * _by_hand("box", range(ROWS))
    assert _number(MultitaskLoss(TASKS, alpha)(TRUE, FOUND)) == pytest.approx(expected, rel=1e-5)


def test_any_number_of_tasks_by_weights():
    tasks = {**TASKS, "same": keras.losses.MeanAbsoluteError()}
    loss = MultitaskLoss(tasks, {"box": 3, "same": 0.5, "label": 0})
    true, found = ({**each, "same": each["box"]} for each in (TRUE, FOUND))
    expected = 3 * _by_hand("box", range(ROWS)) + 0.5 * np.mean(np.abs(TRUE["box"] - FOUND["box"]))
    assert _number(loss(true, found)) == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_the_weighted_sum_of_the_tasks_gradients():
    """Of all outputs side by side, on which both tasks depend."""
    x = np.concatenate([FOUND["label"], FOUND["box"]], axis=1)

    def outputs(x):
        mixed = ops.matmul(x, np.eye(7, dtype="float32") + 0.1)  # each output from all numbers
        return {"label": ops.softmax(mixed[:, :CLASSES]), "box": mixed[:, CLASSES:]}

    def gradient(loss, **options):
        def both(x):
            value = loss(TRUE, outputs(x), **options)
            return value, value

        run = backend.gradient(both)
        if keras.backend.backend() == "jax":
            run = backend.compiled(run, [])
        return ops.convert_to_numpy(run(ops.convert_to_tensor(x))[0])

    alone = [gradient(MultitaskLoss(TASKS, alpha)) for alpha in (1, 0)]
    assert all(part.any() for part in alone)
    joint = gradient(MultitaskLoss(TASKS, 0.3))
    np.testing.assert_allclose(joint, 0.3 * alone[0] + 0.7 * alone[1], rtol=1e-4, atol=1e-7)
    given_weights = gradient(MultitaskLoss(TASKS, 0.3), weights={"label": 2.0, "box": 5.0})
    np.testing.assert_allclose(given_weights, 2 * alone[0] + 5 * alone[1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("labels", [[0, 1, 2, 1, 0, 2], [0, -1, 2, 1, -1, 2], [-1] * ROWS])
@pytest.mark.parametrize("boxes", [[], [0, 3], range(ROWS)])
def test_missing_labels_take_no_part(labels, boxes):
    """Each task is the mean over the rows that have its labels, 0 if none has."""
    true = {"label": np.array(labels), "box": TRUE["box"].copy()}
    true["box"][list(boxes), 1] = np.nan  # one coordinate is enough
    rows = {
        "label": [row for row in range(ROWS) if labels[row] >= 0],
        "box": [row for row in range(ROWS) if row not in boxes],
    }
    losses, counts = MultitaskLoss(TASKS).of_tasks(true, FOUND)
    for task, having in rows.items():
        expected = _by_hand(task, having) if having else 0
        assert _number(losses[task]) == pytest.approx(expected, rel=1e-5)
        assert _number(counts[task]) == len(having)


def test_weights_of_rows_for_all_tasks_or_each():
    weights = np.array([0, 1, 2, 0.5, 0, 3], "float32")
    loss = MultitaskLoss(TASKS)
    for given_weights, expected in (
        (weights, {"label": weights, "box": weights}),
        (weights[:, None], {"label": weights, "box": weights}),
        ({"box": weights}, {"label": None, "box": weights}),
    ):
        losses, _ = loss.of_tasks(TRUE, FOUND, given_weights)
        for task, by_row in expected.items():
            value = _by_hand(task, range(ROWS), by_row)
            assert _number(losses[task]) == pytest.approx(value, rel=1e-5)


def test_alpha_by_a_schedule():
    schedule = keras.optimizers.schedules.PolynomialDecay(0.8, 10, 0.2)
    loss = MultitaskLoss(TASKS, schedule)
    assert loss.is_moving and not MultitaskLoss(TASKS, 0.3).is_moving
    weights = {task: _number(weight) for task, weight in loss.weights_at(5).items()}
    assert weights == pytest.approx({"label": 0.5, "box": 0.5})
    assert _number(loss.weights_at(10)["box"]) == pytest.approx(0.8)


@pytest.mark.parametrize(
    "alpha",
    [
        0.25,
        {"label": 2.0, "box": 0.5},
        "learned",
        keras.optimizers.schedules.PolynomialDecay(0.8, 10, 0.2),
        GradNorm("shared", 0.5, 0.1),
    ],
    ids=["number", "weights", "learned", "schedule", "grad_norm"],
)
def test_a_configuration_says_all(alpha):
    tasks = {"label": keras.losses.SparseCategoricalCrossentropy(), "box": SmoothL1Loss(0.3)}
    loss = MultitaskLoss(tasks, alpha, name="mine")
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    twin = keras.saving.deserialize_keras_object(stored)
    assert type(twin) is MultitaskLoss and twin.name == "mine" and list(twin.tasks) == list(tasks)
    assert _number(twin(TRUE, FOUND)) == _number(loss(TRUE, FOUND))
    assert twin.is_learned == loss.is_learned and twin.is_moving == loss.is_moving
    assert twin.tasks["box"].beta == 0.3
    if isinstance(alpha, GradNorm):
        assert vars(twin.alpha) == vars(alpha)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shared": ""}, "shared must be the name of a layer"),
        ({"shared": "x", "restoring": -1}, "restoring must be a finite number of at least 0"),
        ({"shared": "x", "rate": 0}, "rate must be a number above 0 and at most 1"),
    ],
)
def test_bad_arguments_of_grad_norm(arguments, message):
    with pytest.raises(ValueError, match=message):
        GradNorm(**arguments)


BAD = [
    (TASKS, 1.2, ValueError, "alpha must be a number from 0 to 1.*1.2"),
    (TASKS, float("nan"), ValueError, "alpha must be a number from 0 to 1.*nan"),
    (TASKS, True, TypeError, "alpha must be.*True"),
    (TASKS, "best", ValueError, "alpha must be.*'learned'.*'best'"),
    (TASKS, {"label": 1}, ValueError, "a weight for each of 'label', 'box'.*'label'"),
    (TASKS, {"label": 1, "box": -1}, ValueError, "alpha of 'box' must be a finite number of.*-1"),
    ({**TASKS, "pose": "mse"}, 0.5, ValueError, "two tasks against each other, but there are 3"),
    (["mse"], 0.5, TypeError, "tasks must be a dictionary.*mse"),
    ({"label": "mse", "box": 3}, 0.5, (TypeError, ValueError), "3"),
    (
        {"label": keras.losses.MeanSquaredError(reduction="sum"), "box": "mse"},
        0.5, ValueError, "'label' must be a mean over rows.*sum",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("tasks", "alpha", "kind", "message"), BAD)
def test_bad_arguments_are_said(tasks, alpha, kind, message):
    with pytest.raises(kind, match=message):
        MultitaskLoss(tasks, alpha)


def test_bad_calls_are_said():
    loss = MultitaskLoss(TASKS)
    with pytest.raises(TypeError, match="y_true must be a dictionary.*'label', 'box'.*ndarray"):
        loss(TRUE["box"], FOUND)
    with pytest.raises(ValueError, match="y_pred lacks 'box'.*Received: 'label'"):
        loss(TRUE, {"label": FOUND["label"]})
    with pytest.raises(ValueError, match="sample_weight has unknown tasks: 'pose'"):
        loss(TRUE, FOUND, {"pose": np.ones(ROWS)})
    with pytest.raises(ValueError, match=r"sample_weight must be \(rows,\).*\(6, 4\)"):
        loss(TRUE, FOUND, np.ones((ROWS, 4)))
    with pytest.raises(ValueError, match="weights lacks 'box'"):
        loss(TRUE, FOUND, weights={"label": 1})
