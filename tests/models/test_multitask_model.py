"""Training by a loss of several tasks: what is trained, what is shown, what is said."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest

from keras_dlcourse.losses import MultitaskLoss
from keras_dlcourse.metrics import BoxIoU, LocalizationAccuracy
from keras_dlcourse.models import MultitaskModel

ROWS = 24
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 5)).astype("float32")
Y = {
    "label": RNG.integers(0, 3, ROWS),
    "box": np.sort(RNG.uniform(size=(ROWS, 2, 2)), axis=1).reshape(ROWS, 4).astype("float32"),
}
TASKS = {"label": "sparse_categorical_crossentropy", "box": "mse"}


def _network(regularizer=None):
    keras.utils.set_random_seed(0)
    x = keras.Input((5,))
    shared = keras.layers.Dense(8, "relu", kernel_regularizer=regularizer)(x)
    label = keras.layers.Dense(3, "softmax")(shared)
    box = keras.layers.Dense(4, "sigmoid")(shared)
    return keras.Model(x, {"label": label, "box": box})


def _trainer(alpha=0.5, model=None, **options):
    trainer = MultitaskModel(model or _network(), MultitaskLoss(TASKS, alpha), **options)
    trainer.compile(keras.optimizers.SGD(0.1))
    return trainer


def test_as_keras_trains_with_loss_weights():
    """A constant alpha is what Keras calls loss weights: the same weights, step by step."""
    ours, theirs = _network("l2"), _network("l2")
    history = _trainer(0.3, ours).fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    theirs.compile(keras.optimizers.SGD(0.1), TASKS, loss_weights={"label": 0.3, "box": 0.7})
    expected = theirs.fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0).history
    assert set(history.history) == {"loss", "label_loss", "box_loss"}
    for name, values in history.history.items():
        assert values == pytest.approx(expected[name], rel=1e-5)
    for mine, weight in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, weight, atol=1e-6)


@pytest.mark.parametrize("jit", [False, True])
def test_alpha_moves_by_a_schedule_of_steps(jit):
    schedule = keras.optimizers.schedules.PolynomialDecay(1.0, 4, 0.0)
    trainer = _trainer(schedule)
    trainer.compile(keras.optimizers.SGD(0.1), jit_compile=jit)
    history = trainer.fit(X, Y, batch_size=12, epochs=3, verbose=0).history
    assert history["label_weight"] == pytest.approx([(1 + 0.75) / 2, (0.5 + 0.25) / 2, 0])
    assert history["box_weight"] == pytest.approx([0.125, 0.625, 1])


def test_learned_weights_come_to_their_optimum():
    """exp(-s) L + s / 2 has its minimum at exp(-s) = 1 / (2 L)."""
    model = _network()
    model.trainable = False  # the losses stay as they are
    trainer = _trainer("learned", model)
    trainer.compile(keras.optimizers.Adam(0.3))
    history = trainer.fit(X, Y, batch_size=ROWS, epochs=60, verbose=0).history
    for task in TASKS:
        expected = 1 / (2 * history[f"{task}_loss"][-1])
        assert history[f"{task}_weight"][-1] == pytest.approx(expected, rel=0.05)
    assert history["loss"][-1] < history["loss"][0]


def test_the_model_stays_a_plain_one(tmp_path):
    model = _network()
    names = [weight.path for weight in model.weights]
    before = model.get_weights()
    trainer = _trainer("learned", model)
    trainer.fit(X, Y, epochs=1, verbose=0)
    assert [weight.path for weight in model.weights] == names
    assert all((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
    assert not model.compiled
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for name, values in loaded.predict(X, verbose=0).items():
        np.testing.assert_allclose(values, trainer.predict(X, verbose=0)[name], atol=1e-6)


def test_measures_of_one_output_and_of_several():
    joint = LocalizationAccuracy("rel_center_xywh", iou=0.05)
    trainer = _trainer(joint_metrics=[joint])
    trainer.compile("sgd", metrics={"label": "accuracy", "box": BoxIoU("rel_center_xywh")})
    logs = trainer.evaluate(X, Y, verbose=0, return_dict=True)
    found = trainer.predict(X, verbose=0)
    alone = LocalizationAccuracy("rel_center_xywh", iou=0.05)
    alone.update_state(Y, found)
    assert logs["localization_accuracy"] == pytest.approx(float(alone.result()))
    assert logs["localization_accuracy"] > 0
    right = (found["label"].argmax(1) == Y["label"]).mean()
    assert logs["label_accuracy"] == pytest.approx(right)
    iou = BoxIoU("rel_center_xywh")
    iou.update_state(Y["box"], found["box"])
    assert logs["box_box_iou"] == pytest.approx(float(iou.result()))


def test_missing_labels_are_passed_over_and_said_once():
    y = {"label": Y["label"].copy(), "box": Y["box"].copy()}
    y["label"][8:] = -1  # the second and third batch have none
    y["box"][::2] = np.nan
    trainer = _trainer()
    trainer.compile("sgd", weighted_metrics={"label": ["accuracy"], "box": ["mse"]})
    with pytest.warns(UserWarning, match="^2 batches had no label of task 'label'") as said:
        history = trainer.fit(X, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    assert len([one for one in said if "no label" in str(one.message)]) == 1
    assert np.isfinite(list(history.values())).all()
    logs = trainer.evaluate(X, y, batch_size=8, verbose=0, return_dict=True)
    rest = trainer.evaluate(
        X[:8], {"label": Y["label"][:8], "box": Y["box"][:8]}, verbose=0, return_dict=True
    )
    assert logs["label_loss"] == pytest.approx(rest["label_loss"], rel=1e-5)
    assert logs["label_accuracy"] == pytest.approx(rest["label_accuracy"])
    boxes = trainer.predict(X, verbose=0)["box"][1::2]
    assert logs["box_loss"] == pytest.approx(np.mean((boxes - Y["box"][1::2]) ** 2), rel=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        _trainer().fit(X, Y, epochs=1, verbose=0)


def test_what_cannot_be_trained_is_said():
    loss = MultitaskLoss(TASKS)
    with pytest.raises(TypeError, match=r"model must be a keras.Model.*int"):
        MultitaskModel(3, loss)
    with pytest.raises(TypeError, match=r"loss must be a MultitaskLoss.*str"):
        MultitaskModel(_network(), "mse")
    with pytest.raises(ValueError, match="the output of the model lacks 'pose'"):
        MultitaskModel(_network(), MultitaskLoss({**TASKS, "pose": "mse"}, "learned"))
    x = keras.Input((5,))
    with pytest.raises(TypeError, match="the output of the model must be a dictionary"):
        MultitaskModel(keras.Model(x, keras.layers.Dense(2)(x)), loss)
