"""What a loss that stands still means, in words."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from keras_dlcourse.callbacks import PlateauMonitor

CATEGORICAL = "sparse_categorical_crossentropy"


def model(loss: str = CATEGORICAL, units: int = 4) -> keras.Model:
    made = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)])
    made.compile(keras.optimizers.SGD(0.25), loss)
    return made


def run(monitor: PlateauMonitor, logs: list[dict[str, Any]], made: keras.Model) -> list[str]:
    monitor.set_model(made)
    monitor.on_train_begin()
    for epoch, row in enumerate(logs):
        monitor.on_epoch_end(epoch, row)
    return monitor.said


def losses(*values: float) -> list[dict[str, Any]]:
    return [{"loss": value} for value in values]


@pytest.mark.parametrize(
    ("loss", "units", "logs", "words"),
    [
        (
            "sparse_categorical_crossentropy",
            4,
            losses(2.0, 1.39, 1.385, 1.38),
            r"ln 4: all 4 classes",
        ),
        ("binary_crossentropy", 1, losses(0.9, 0.693, 0.694, 0.69), r"ln 2: all 2 classes"),
        (
            "sparse_categorical_crossentropy",
            4,
            losses(2.0, 2.0, 2.1),
            r"above ln 4 = 1\.386.*diverges",
        ),
        ("mse", 1, losses(0.5, 0.5, 0.5), r"may be complete.*\(it is 0\.25\)"),
        (
            "mse",
            1,
            [{"loss": 0.5, "val_loss": value} for value in (0.6, 0.7, 0.8)],
            r"validation loss has risen from 0\.6 to 0\.8.*overfitting",
        ),
    ],
)
def test_what_it_means(loss: str, units: int, logs: list[dict[str, Any]], words: str) -> None:
    with pytest.warns(UserWarning, match=rf"not fallen for 2 epochs\. .*{words}"):
        said = run(PlateauMonitor(patience=2), logs, model(loss, units))
    assert len(said) == 1


def test_it_speaks_once_a_plateau() -> None:
    values = losses(1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5)
    with pytest.warns(UserWarning):
        assert len(run(PlateauMonitor(patience=2), values, model("mse", 1))) == 2


def test_a_loss_that_falls_is_left_alone() -> None:
    assert run(PlateauMonitor(patience=2), losses(*(0.9**k for k in range(9))), model()) == []
    # By less than min_delta is no fall.
    with pytest.warns(UserWarning):
        assert run(PlateauMonitor(patience=2), losses(*(0.995**k for k in range(9))), model())


def test_a_network_that_sees_nothing_is_told_so_in_fit() -> None:
    made = model()
    made.add(keras.layers.Activation("softmax"))
    made.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    made.set_weights([np.zeros_like(weight) for weight in made.get_weights()])
    with pytest.warns(UserWarning, match="all 4 classes get the same score"):
        made.fit(np.ones((8, 2)), np.arange(8) % 4, epochs=4, verbose=0,
                 callbacks=[PlateauMonitor(patience=2)])  # fmt: skip
