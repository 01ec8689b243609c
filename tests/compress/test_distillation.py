from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from keras_dlcourse.compress.distillation import distill


def _classifier(width: int, activation: str | None = None, seed: int = 0, **options) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(width, activation="tanh"),
            keras.layers.Dense(3, activation=activation, **options),
        ]
    )
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.normal(0, 0.8, weight.shape))
    return model


def _data(n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return rng.normal(size=(n, 5)).astype("float32"), rng.integers(0, 3, n)


def _loss(activation: str | None):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None)


def _formula(teacher, student, labels, alpha, temperature, weights=None) -> float:
    """Hinton's loss of logits, in NumPy."""
    weights = np.ones(len(labels)) if weights is None else weights
    own = -log_softmax(student, axis=1)[np.arange(len(labels)), labels]
    soft = softmax(teacher / temperature, axis=1)
    log_ratio = np.log(soft) - log_softmax(student / temperature, axis=1)
    divergence = (soft * log_ratio).sum(axis=1)
    both = alpha * own + (1 - alpha) * temperature**2 * divergence
    return float((weights * both).mean())


@pytest.mark.parametrize("activation", [None, "softmax"])
@pytest.mark.parametrize(("alpha", "temperature"), [(0.1, 3.0), (0.0, 1.0), (0.6, 10.0)])
def test_the_loss_is_hintons_formula(activation, alpha, temperature) -> None:
    teacher, student = _classifier(16, activation), _classifier(4, activation, seed=1)
    images, labels = _data()
    logits = []
    for model in (teacher, student):
        plain = _classifier(model.layers[0].units)
        plain.set_weights(model.get_weights())
        logits.append(plain.predict(images, verbose=0).astype("float64"))
    weights = np.linspace(0.5, 2, len(labels))
    model = distill(teacher, student, alpha, temperature)
    model.compile(keras.optimizers.SGD(0.0), _loss(activation))
    found = model.fit(images, labels, sample_weight=weights, batch_size=12, verbose=0)
    expected = _formula(*logits, labels, alpha, temperature, weights)
    assert found.history["loss"][0] == pytest.approx(expected, rel=1e-4)


def test_a_step_follows_the_gradient_of_the_formula() -> None:
    """Of the last bias: mean of alpha (p - y) + (1 - alpha) T (softened p - softened teacher)."""
    teacher, student = _classifier(16), _classifier(4, seed=1)
    images, labels = _data()
    one, other = (model.predict(images, verbose=0) for model in (teacher, student))
    before = np.array(student.get_weights()[-1])
    model = distill(teacher, student, alpha=0.3, temperature=4.0)
    model.compile(keras.optimizers.SGD(1.0), _loss(None))
    model.fit(images, labels, batch_size=12, verbose=0)
    labelled = softmax(other, axis=1) - np.eye(3)[labels]
    softened = softmax(other / 4, axis=1) - softmax(one / 4, axis=1)
    expected = (0.3 * labelled + 0.7 * 4.0 * softened).mean(axis=0)
    np.testing.assert_allclose(before - student.get_weights()[-1], expected, rtol=1e-3, atol=1e-5)


def test_alpha_one_is_plain_training() -> None:
    images, labels = _data()
    results = []
    for distilled in (True, False):
        student = _classifier(4, "softmax", seed=1, kernel_regularizer="l2")
        model = distill(_classifier(16, "softmax"), student, alpha=1.0) if distilled else student
        model.compile(keras.optimizers.Adam(0.01), _loss("softmax"))
        model.fit(images, labels, epochs=3, shuffle=False, verbose=0)
        results.append(student.get_weights())
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_regularizers_count_whole() -> None:
    teacher = _classifier(16)
    images, labels = _data()
    losses = []
    for options in ({}, {"kernel_regularizer": keras.regularizers.L2(0.5)}):
        student = _classifier(4, seed=1, **options)
        model = distill(teacher, student, alpha=0.2)
        model.compile(keras.optimizers.SGD(0.0), _loss(None))
        losses.append(model.fit(images, labels, verbose=0).history["loss"][0])
    penalty = 0.5 * float((student.get_weights()[2] ** 2).sum())
    assert losses[1] - losses[0] == pytest.approx(penalty, rel=1e-3)


def test_the_student_learns_the_teacher_which_stays_as_it_was() -> None:
    teacher, student = _classifier(16), _classifier(16, seed=1)
    before = teacher.get_weights()
    images, labels = _data(64)
    model = distill(teacher, student, alpha=0.0)
    model.compile(keras.optimizers.Adam(0.02), _loss(None), metrics=["accuracy"])
    history = model.fit(
        images, labels, epochs=60, verbose=0, validation_data=(images, labels)
    ).history
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    assert {"accuracy", "distillation_loss", "val_accuracy"} <= set(history)
    agreement = [np.argmax(m.predict(images, verbose=0), axis=1) for m in (teacher, student)]
    assert np.mean(agreement[0] == agreement[1]) > 0.9
    for one, other in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert teacher.trainable and teacher.trainable_weights
    assert len(model.trainable_weights) == len(student.trainable_weights)
    np.testing.assert_array_equal(
        model.predict(images, verbose=0), student.predict(images, verbose=0)
    )


def test_validation_is_the_students_own_loss() -> None:
    images, labels = _data()
    student = _classifier(4, seed=1)
    model = distill(_classifier(16), student, alpha=0.1)
    model.compile("sgd", _loss(None))
    student.compile("sgd", _loss(None))
    own, distance = model.evaluate(images, labels, verbose=0)
    assert own == pytest.approx(student.evaluate(images, labels, verbose=0))
    assert distance > 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"alpha": 1.5}, ValueError, "alpha must be a number from 0 to 1. Received: 1.5"),
        ({"temperature": 0}, ValueError, "temperature must be a finite number above 0"),
        ({"teacher": "teacher.keras"}, TypeError, "teacher must be a keras.Model. Received: str"),
        (
            {"student": keras.Sequential([keras.Input((5,)), keras.layers.Dense(4)])},
            ValueError,
            r"the same output shape. Received: \(None, 3\) and \(None, 4\)",
        ),
        (
            {"student": keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])},
            ValueError,
            r"student must be a classifier.*\(None, 1\)",
        ),
        ({"student": keras.Sequential([keras.layers.Dense(3)])}, ValueError, "must be built"),
        (
            {"student": _classifier(4, "softmax")},
            ValueError,
            "returns logits and a student that returns prob",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        distill(**{"teacher": _classifier(16), "student": _classifier(4), **arguments})
