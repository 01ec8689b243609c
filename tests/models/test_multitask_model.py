"""Training by a loss of several tasks: what is trained, what is shown, what is said."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest

from keras_dlcourse.layers import RandomAffine
from keras_dlcourse.losses import GradNorm, MultitaskLoss
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
    with pytest.warns(UserWarning, match="^2 batches had no labels for task 'label'") as said:
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


class TestGradNorm:
    """Two regressions of the same features, one with numbers ten times as large."""

    def _model(self):
        keras.utils.set_random_seed(1)
        x = keras.Input((5,))
        hidden = keras.layers.Dense(6, "tanh", name="hidden")(x)
        shared = keras.layers.Dense(8, name="shared")(hidden)
        heads = {task: keras.layers.Dense(2, name=task)(shared) for task in ("near", "far")}
        return keras.Model(x, heads)

    def _trainer(self, rule, **compiled):
        loss = MultitaskLoss({"near": "mse", "far": "mse"}, rule)
        trainer = MultitaskModel(self._model(), loss)
        trainer.compile(keras.optimizers.SGD(0.01), **compiled)
        return trainer

    def _labels(self, rows=ROWS):
        truth = np.random.default_rng(5).normal(size=(5, 4))
        y = np.tanh(X[:rows] @ truth).astype("float32")
        return {"near": y[:, :2], "far": 10 * y[:, 2:]}

    def _sizes_by_hand(self, model, y):
        """Length of each task's gradient by the kernel of the shared layer, written out."""
        hidden, shared, near, far = (
            model.get_layer(name).get_weights() for name in ("hidden", "shared", "near", "far")
        )
        before = np.tanh(X @ hidden[0] + hidden[1])
        features = before @ shared[0] + shared[1]
        sizes, losses = [], []
        for task, (kernel, bias) in (("near", near), ("far", far)):
            error = features @ kernel + bias - y[task]
            losses.append((error**2).mean())
            slope = before.T @ (2 * error / error.size @ kernel.T)
            sizes.append(np.linalg.norm(slope))
        return np.array(sizes), np.array(losses)

    @pytest.mark.parametrize("jit", [False, True])
    def test_one_step_as_the_paper_has_it(self, jit):
        """At the weights wanted, each gradient has the length that equation 2 asks for."""
        trainer = self._trainer(GradNorm("shared", restoring=1.5, rate=1), jit_compile=jit)
        y = self._labels()
        for _ in range(2):
            weights = np.array(trainer.balance.weights)
            sizes, losses = self._sizes_by_hand(trainer.model, y)
            first = np.array(trainer.balance.first)
            first = first if first.any() else losses
            trainer.train_on_batch(X, y)
            progress = losses / first
            asked = (weights * sizes).mean() * (progress / progress.mean()) ** 1.5
            wanted = asked / sizes
            np.testing.assert_allclose(
                trainer.balance.weights, wanted * 2 / wanted.sum(), rtol=1e-4
            )

    def test_gradients_come_to_one_size(self):
        trainer = self._trainer(GradNorm("shared", restoring=0, rate=0.2))
        trainer.compile(keras.optimizers.SGD(1e-3))  # slow beside the weights
        y = self._labels()
        history = trainer.fit(X, y, batch_size=ROWS, epochs=30, verbose=0).history
        sizes, _ = self._sizes_by_hand(trainer.model, y)
        near, far = np.array(trainer.balance.weights) * sizes
        assert near == pytest.approx(far, rel=0.2)
        assert sizes[1] / sizes[0] > 3  # they were not of one size by themselves
        assert history["near_weight"][-1] + history["far_weight"][-1] == pytest.approx(2)

    def test_a_batch_without_labels_of_a_task_moves_nothing(self):
        trainer = self._trainer(GradNorm("shared"))
        y = self._labels()
        y["far"] = np.full_like(y["far"], np.nan)
        trainer.train_on_batch(X, y)
        assert np.array(trainer.balance.weights).tolist() == [1, 1]
        assert np.array(trainer.balance.first).tolist() == [0, 0]
        trainer.train_on_batch(X, self._labels())
        assert np.array(trainer.balance.weights).tolist() != [1, 1]
        assert (np.array(trainer.balance.first) > 0).all()

    def test_measures_and_predictions_know_nothing_of_it(self):
        trainer = self._trainer(GradNorm("shared"), metrics={"near": "mae"})
        history = trainer.fit(X, self._labels(), epochs=1, verbose=0).history
        assert {"near_mae", "near_weight", "far_loss"} <= set(history)
        assert set(trainer.predict(X, verbose=0)) == {"near", "far"}
        assert trainer.evaluate(X, self._labels(), verbose=0, return_dict=True)["loss"] > 0

    def test_dropout_and_batch_norm_behind_the_shared_layer(self):
        """What the extra runs do to their state is thrown away."""
        x = keras.Input((5,))
        shared = keras.layers.Dense(8, name="shared")(x)
        mixed = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(shared))
        heads = {task: keras.layers.Dense(2)(mixed) for task in ("near", "far")}
        model = keras.Model(x, heads)
        twin = keras.models.clone_model(model)
        twin.set_weights(model.get_weights())
        loss = MultitaskLoss({"near": "mse", "far": "mse"}, GradNorm("shared"))
        trainer = MultitaskModel(model, loss)
        trainer.compile(keras.optimizers.SGD(0.0))
        trainer.train_on_batch(X, self._labels())
        twin(X, training=True)
        means = [m.get_layer(index=2).moving_mean for m in (model, twin)]
        np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, means), rtol=1e-5)

    @pytest.mark.parametrize(
        "name, message",
        [("nowhere", "No such layer"), ("dense_in_one_head", "that no path bypasses")],
    )
    def test_wrong_layers(self, name, message):
        x = keras.Input((5,))
        one = keras.layers.Dense(2, name="dense_in_one_head")(x)
        model = keras.Model(x, {"near": keras.layers.Dense(2)(one), "far": one + x[:, :2]})
        loss = MultitaskLoss({"near": "mse", "far": "mse"}, GradNorm(name))
        with pytest.raises(ValueError, match=message):
            MultitaskModel(model, loss)

    def test_a_frozen_shared_layer(self):
        model = self._model()
        model.get_layer("shared").trainable = False
        with pytest.raises(ValueError, match="with trainable weights"):
            MultitaskModel(model, MultitaskLoss({"near": "mse", "far": "mse"}, GradNorm("shared")))


class TestAugmentation:
    """Images, boxes and keypoints move together, in the training step."""

    def _data(self, rows=16):
        rng = np.random.default_rng(0)
        images = rng.uniform(size=(rows, 12, 16, 1)).astype("float32")
        left = rng.uniform(0, 0.4, (rows, 2))
        return images, {"box": np.concatenate([left, left + 0.3], 1).astype("float32")}

    def _trainer(self, augmentation, **compiled):
        keras.utils.set_random_seed(0)
        x = keras.Input((12, 16, 1))
        dense = keras.layers.Dense(4, name="dense")(keras.layers.Flatten()(x))
        model = keras.Model(x, {"box": dense})
        trainer = MultitaskModel(
            model, MultitaskLoss({"box": "mse"}, {"box": 1.0}), augmentation=augmentation
        )
        trainer.compile(keras.optimizers.SGD(0.1), **compiled)
        return trainer

    @pytest.mark.parametrize("jit", [False, keras.backend.backend() == "jax"])
    def test_a_step_is_one_on_what_the_layer_gives(self, jit):
        """Each step draws anew, from the same seed as the layer alone."""
        x, y = self._data()
        options = {"horizontal_flip": True, "translation": 0.1, "boxes": {"box": "rel_xyxy"}}
        trainer = self._trainer(RandomAffine(**options, seed=3), jit_compile=jit)
        plain, alone = self._trainer(None), RandomAffine(**options, seed=3)
        for _ in range(3):
            trainer.train_on_batch(x, y)
            moved = alone({"images": x, **y}, training=True)
            plain.train_on_batch(moved["images"], {"box": moved["box"]})
            for ours, theirs in zip(
                trainer.model.get_weights(), plain.model.get_weights(), strict=True
            ):
                np.testing.assert_allclose(ours, theirs, atol=1e-5)

    def test_evaluation_sees_what_is_there(self):
        x, y = self._data()
        layer = RandomAffine(degrees=180, boxes={"box": "rel_xyxy"})
        values = [self._trainer(each).evaluate(x, y, verbose=0) for each in (None, layer)]
        assert values[0] == values[1]

    def test_the_model_holds_nothing_of_it(self):
        trainer = self._trainer(RandomAffine(degrees=180, boxes={"box": "rel_xyxy"}))
        assert not any(isinstance(layer, RandomAffine) for layer in trainer.model.layers)

    def test_what_is_no_layer(self):
        with pytest.raises(TypeError, match="augmentation must be a Keras layer"):
            self._trainer(lambda given: given)
