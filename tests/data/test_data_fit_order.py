"""The order that `fit` really sees: read off the weights that each batch changes.

Example `i` is a one-hot image, the loss is the output, and the optimizer is plain SGD, so that the
weights that a batch changes are its examples, and by how much is their weight in the loss.
"""

import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_dlcourse as kd

N, BATCH = 11, 4
STEPS = 3


def make_pipeline(shuffle=True, seed=5, **kwargs):
    images = np.eye(N, dtype="float32").reshape(N, 1, N, 1)
    y = np.zeros(N, int)
    return kd.data.pipeline(images, y, batch_size=BATCH, shuffle=shuffle, seed=seed, **kwargs)


def make_model(built=True, **compile_arguments):
    model = keras.Sequential(
        [keras.layers.Flatten(), keras.layers.Dense(1, use_bias=False, name="dense")]
    )
    if built:
        model.build((None, 1, N, 1))
    model.compile(keras.optimizers.SGD(1.0), loss=lambda y, p: p, **compile_arguments)
    return model


class Watch(keras.callbacks.Callback):
    """Notes for each batch how much the loss weighed each example."""

    def __init__(self, stop_after=None, interrupt_after=None):
        super().__init__()
        self.steps = []
        self.stop_after = stop_after
        self.interrupt_after = interrupt_after

    def on_train_batch_begin(self, batch, logs=None):
        if self.model.built:
            self.before = self.model.get_weights()[0][:, 0]

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(self.before - self.model.get_weights()[0][:, 0])
        if len(self.steps) == self.stop_after:
            self.model.stop_training = True
        if len(self.steps) == self.interrupt_after:
            raise KeyboardInterrupt


def fit(pipeline, epochs, model=None, watch=None, **kwargs):
    """Return the set of examples of each batch of a call of fit."""
    model, watch = model or make_model(), watch or Watch()
    model.fit(pipeline, epochs=epochs, verbose=0, callbacks=[watch], **kwargs)
    return [set(np.flatnonzero(np.abs(step) > 1e-4).tolist()) for step in watch.steps]


def documented(*epochs, seed=5):
    """Return the batches of epochs by what the documentation of `Pipeline` says."""
    result = []
    for epoch in epochs:
        order = np.random.default_rng((seed, epoch)).permutation(N)
        result += [set(order[start : start + BATCH].tolist()) for start in range(0, N, BATCH)]
    return result


STORED = [{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9, 10}]


@pytest.mark.parametrize("global_seed", [0, 1])
def test_order_is_that_of_seed_and_epoch_whatever_the_global_seeds(global_seed):
    keras.utils.set_random_seed(global_seed)
    assert fit(make_pipeline(), 3) == documented(0, 1, 2)
    random.seed(global_seed)
    assert fit(make_pipeline(seed=6), 2, shuffle=False) == documented(0, 1, seed=6)


def test_epochs_differ():
    assert len({str(documented(epoch)) for epoch in range(4)}) == 4


def test_without_shuffle_fit_sees_the_stored_order_though_it_shuffles_by_default():
    assert fit(make_pipeline(shuffle=False), 2, shuffle=True) == STORED * 2


def test_validation_evaluate_and_predict_change_nothing():
    pipeline, model = make_pipeline(), make_model()
    other = make_pipeline(seed=9)
    assert fit(pipeline, 2, model, validation_data=other) == documented(0, 1)
    assert fit(pipeline, 2, model, validation_data=pipeline) == documented(2, 3)
    model.evaluate(pipeline, verbose=0)
    model.predict(pipeline, verbose=0)
    list(pipeline), pipeline[1], kd.data.take(pipeline, 3)
    assert pipeline.epoch == 4
    assert other.epoch == 0
    assert fit(pipeline, 1, model) == documented(4)


def test_predict_lines_up_with_the_stored_order():
    pipeline, model = make_pipeline(), make_model()
    fit(pipeline, 1, model)
    model.set_weights([np.arange(N, dtype="float32")[:, None]])
    np.testing.assert_array_equal(model.predict(pipeline, verbose=0)[:, 0], np.arange(N))


def test_two_models_in_turns_share_one_count():
    pipeline, one, other = make_pipeline(), make_model(), make_model()
    seen = fit(pipeline, 1, one) + fit(pipeline, 1, other) + fit(pipeline, 1, one)
    assert seen == documented(0, 1, 2)


def test_epoch_set_by_hand_resumes():
    pipeline = make_pipeline()
    pipeline.epoch = 7
    assert fit(pipeline, 9, initial_epoch=7) == documented(7, 8)
    fresh = make_pipeline(seed=0)
    fresh.load_state_dict(pipeline.state_dict())
    assert fit(fresh, 1) == documented(9)


def test_an_epoch_stopped_in_the_middle_counts_and_leaves_nothing_behind():
    pipeline, model = make_pipeline(), make_model()
    assert fit(pipeline, 5, model, Watch(stop_after=STEPS + 1)) == documented(0, 1)[: STEPS + 1]
    model.evaluate(pipeline, verbose=0)
    assert pipeline.epoch == 2
    assert fit(pipeline, 1, model) == documented(2)


def test_ctrl_c_in_the_middle_of_an_epoch():
    pipeline, model = make_pipeline(), make_model()
    with pytest.raises(KeyboardInterrupt):
        fit(pipeline, 5, model, Watch(interrupt_after=2))
    assert pipeline.epoch == 1
    assert fit(pipeline, 2, model) == documented(1, 2)


def test_steps_per_epoch_goes_on_in_the_order_of_the_epoch_in_which_the_pass_began():
    model = make_model()
    watch = Watch()
    seen = fit(make_pipeline(), 4, model, watch, steps_per_epoch=2)
    whole = documented(0, 2)
    # Keras ends an epoch with the data: 2 steps, then 1, then a new pass in the third epoch.
    assert seen == whole[0:3] + whole[3:6]


def test_several_steps_an_execution():
    watch = Watch()
    seen = fit(make_pipeline(), 2, make_model(steps_per_execution=3), watch)
    assert [sorted(step) for step in seen] == [list(range(N))] * 2


def test_building_the_model_uses_no_epoch():
    pipeline, model = make_pipeline(), make_model(built=False)
    model.fit(pipeline, verbose=0)
    assert pipeline.epoch == 1
    assert fit(pipeline, 1, model) == documented(1)


def test_arguments_that_keras_would_drop_are_refused():
    model = make_model()
    for name, value in (
        ("y", np.zeros(N)),
        ("class_weight", {0: 2.0}),
        ("sample_weight", np.ones(N)),
    ):
        with pytest.raises(ValueError, match=rf"fit\(\) got {name}="):
            model.fit(make_pipeline(), verbose=0, **{name: value})
    with pytest.raises(ValueError, match=r"evaluate\(\) got sample_weight="):
        model.evaluate(make_pipeline(), sample_weight=np.ones(N), verbose=0)


def test_class_weight_of_fit_does_not_disturb_a_pipeline_for_validation():
    x, y = np.eye(N, dtype="float32").reshape(N, 1, N, 1), np.zeros(N)
    make_model().fit(
        x, y, class_weight={0: 2.0}, validation_data=make_pipeline(), verbose=0, epochs=2
    )


def test_weights_of_examples_and_classes_reach_the_loss():
    images = np.eye(N, dtype="float32").reshape(N, 1, N, 1)
    y = np.arange(N) % 3
    own = np.linspace(0.5, 1.5, N)
    pipeline = kd.data.pipeline(
        images, y, batch_size=N, sample_weight=own, class_weight={0: 2.0, 2: 0.0}
    )
    watch = Watch()
    make_model().fit(pipeline, verbose=0, callbacks=[watch])
    np.testing.assert_allclose(watch.steps[0], own * np.array([2, 1, 0])[y] / N, atol=1e-6)


@pytest.mark.skipif("KD_SECOND_BACKEND" not in os.environ, reason="runs on JAX, of 4 devices")
def test_devices_share_each_batch():
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    try:
        message = "evenly by the 4 devices.*11 rows in batches of 4, one of 3.*drop_remainder=True"
        with pytest.raises(ValueError, match=message):
            fit(make_pipeline(), 1)
        with pytest.raises(ValueError, match="10 rows in batches of 5, one of 5"):
            make_model().predict(kd.data.pipeline(np.ones((10, 1, N, 1)), batch_size=5), verbose=0)
        assert fit(make_pipeline(drop_remainder=True), 1) == documented(0)[:2]
    finally:
        keras.distribution.set_distribution(None)


def test_a_smaller_last_batch_can_be_left_out():
    pipeline, model = make_pipeline(drop_remainder=True), make_model()
    assert len(pipeline) == STEPS - 1 and pipeline.rows == 8
    assert fit(pipeline, 2, model) == documented(0)[:2] + documented(1)[:2]
    assert len(model.predict(pipeline, verbose=0)) == 8
    assert [len(x) for x, _ in pipeline] == [4, 4]


@pytest.mark.skipif("KD_SECOND_BACKEND" in os.environ, reason="this is the second backend")
def test_all_of_this_on_jax():
    environment = os.environ | {"KERAS_BACKEND": "jax", "KD_SECOND_BACKEND": "1"}
    flags = os.environ.get("XLA_FLAGS", "")
    environment["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=4"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]


@pytest.mark.skipif("KD_SECOND_BACKEND" in os.environ, reason="once is enough")
def test_a_keras_that_takes_no_adapters_still_trains_and_says_what_is_lost():
    program = textwrap.dedent(
        """
        import sys, warnings
        import keras
        sys.modules["keras.src.trainers.data_adapters.data_adapter"] = None
        sys.path.insert(0, sys.argv[1])
        import test_data_fit_order as here
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            seen = here.fit(here.make_pipeline(), 1)
        assert any("Pass fit(..., shuffle=False)" in str(w.message) for w in caught)
        assert sorted(map(sorted, seen)) == sorted(map(sorted, here.documented(0)))
        pipeline, model = here.make_pipeline(), here.make_model()
        assert here.fit(pipeline, 2, model, shuffle=False) == here.documented(0, 1)
        assert len(model.predict(pipeline, verbose=0)) == here.N
        """
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(Path(__file__).parent)],
        env=os.environ | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
