"""Alpha is chosen by a measure, with every choice trained alike."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_dlcourse.losses import MultitaskLoss
from keras_dlcourse.models import MultitaskModel
from keras_dlcourse.training import select_alpha

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 4)).astype("float32")
Y = {"label": (X[:, 0] > 0).astype("int32"), "size": X[:, 1:2] * 3}
TASKS = {"label": "sparse_categorical_crossentropy", "size": "mse"}


def _trained(alpha, epochs=3):
    inputs = keras.Input((4,))
    shared = keras.layers.Dense(3)(inputs)
    label, size = keras.layers.Dense(2, "softmax")(shared), keras.layers.Dense(1)(shared)
    trainer = MultitaskModel(
        keras.Model(inputs, {"label": label, "size": size}), MultitaskLoss(TASKS, alpha)
    )
    trainer.compile(
        keras.optimizers.SGD(0.1),
        metrics={"label": "accuracy", "size": "mean_absolute_error"},
        run_eagerly=True,  # compiling takes longer than six steps
    )
    trainer.fit(X, Y, batch_size=32, epochs=epochs, verbose=0)
    return trainer


def test_the_choice_is_the_best_by_the_measure():
    """With all the weight on the other task a head learns nothing."""
    for monitor, mode, expected in (
        ("label_accuracy", "max", 1.0),
        ("val_size_mean_absolute_error", "min", 0.0),
    ):
        found = select_alpha(_trained, (0.0, 0.5, 1.0), (X, Y), monitor, mode=mode, seeds=(0, 3))
        sign = 1 if mode == "max" else -1
        best = max(range(3), key=lambda k: sign * found.means[k])
        assert found.alpha == found.alphas[best] and found.alpha != 1 - expected
        assert [len(values) for values in found.scores] == [2, 2, 2]
        again = found.trainer.evaluate(X, Y, verbose=0, return_dict=True)
        assert again[monitor.removeprefix("val_")] == pytest.approx(found.scores[best][0])
        assert f"alpha {found.alpha}: {monitor}" in str(found) and str(found).count("chosen") == 1


def test_every_alpha_starts_from_the_same_weights():
    starts = []

    def train(alpha):
        trainer = _trained(alpha, epochs=1)
        trainer.compile(keras.optimizers.SGD(0.0), metrics={"label": "accuracy"}, run_eagerly=True)
        starts.append(_start())
        return trainer

    def _start():
        return float(keras.random.uniform(()))

    select_alpha(train, (0.5, 0.5, 0.5), (X, Y), "label_accuracy", seeds=(0, 1))
    assert starts[::2] == [starts[0]] * 3 and starts[1::2] == [starts[1]] * 3
    assert starts[0] != starts[1]


@pytest.mark.parametrize("trainable", [True, False])
def test_a_network_that_goes_on_from_alpha_to_alpha(trainable):
    shared = keras.layers.Dense(3, name="shared", trainable=trainable)

    def train(alpha):
        inputs = keras.Input((4,))
        label = keras.layers.Dense(2, "softmax")(shared(inputs))
        heads = {"label": label, "size": keras.layers.Dense(1)(shared(inputs))}
        trainer = MultitaskModel(keras.Model(inputs, heads), MultitaskLoss(TASKS, alpha))
        trainer.compile("sgd", metrics={"label": "accuracy"}, run_eagerly=True)
        trainer.fit(X, Y, batch_size=64, verbose=0)
        return trainer

    if trainable:
        with pytest.raises(ValueError, match="a new network each time.*shared/kernel'"):
            select_alpha(train, (0.2, 0.8), (X, Y), "label_accuracy")
    else:
        select_alpha(train, (0.2, 0.8), (X, Y), "label_accuracy")


def test_the_first_of_equal_ones():
    found = select_alpha(_trained, (0.5, 0.5), (X, Y), "label_accuracy")
    assert found.scores[0] == found.scores[1]
    assert found.trainer.evaluate(X, Y, verbose=0) and str(found).startswith("alpha 0.5")


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"monitor": "val_loss"}, ValueError, "changes with alpha even for the same network"),
        (
            {"monitor": "box_iou"},
            ValueError,
            "must be one of .*size_mean_absolute_error.* Received: 'box_iou'",
        ),
        ({"mode": "best"}, ValueError, "mode must be one of 'max', 'min'"),
        ({"alphas": ()}, ValueError, "must not be empty"),
        ({"seeds": (-1,)}, ValueError, "seeds must be an integer of at least 0"),
        ({"train": lambda alpha: None}, TypeError, "must return a compiled Keras model"),
        ({"validation": (X * np.nan, Y), "monitor": "size_loss"}, ValueError, "NaN for every"),
    ],
)
def test_what_makes_no_sense(change, kind, message):
    given = {
        "train": _trained,
        "alphas": (0.5,),
        "validation": (X, Y),
        "monitor": "label_accuracy",
        **change,
    }
    with pytest.raises(kind, match=message):
        select_alpha(**given)
