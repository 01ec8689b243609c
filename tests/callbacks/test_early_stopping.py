"""EarlyStopping's decisions, errors and state, on a model whose epochs are scripted."""

import json
import math

import keras
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keras_dlcourse.callbacks import EarlyStopping

X, Y = np.zeros((4, 1), "float32"), np.zeros((4, 1), "float32")


def make_model(**compile_args):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    eagerly = keras.backend.backend() == "tensorflow"  # where tracing takes longer than a few steps
    model.compile(**{"optimizer": "sgd", "loss": "mse", "run_eagerly": eagerly, **compile_args})
    return model


class Script(keras.callbacks.Callback):
    """At the end of epoch e, put values[e] into the logs and the number e into all weights."""

    def __init__(self, values, name="val_loss"):
        super().__init__()
        self.values, self.name = values, name

    def on_epoch_end(self, epoch, logs):
        set_all(self.model, epoch)
        if self.values[epoch] is not None:
            logs[self.name] = self.values[epoch]


def set_all(model, number):
    model.set_weights([np.full_like(weight, number) for weight in model.get_weights()])


def run(callback, values, model=None, name="val_loss", **fit_args):
    """Return the number of epochs that ran and the epoch whose weights the model ends with."""
    model = model or make_model()
    history = model.fit(
        X,
        Y,
        epochs=fit_args.pop("epochs", len(values)),
        verbose=0,
        callbacks=[Script(values, name), callback],
        **fit_args,
    )
    weights = np.concatenate([weight.ravel() for weight in model.get_weights()])
    assert np.ptp(weights) == 0
    return len(history.epoch), int(weights[0])


def reference(values, patience, min_delta, mode, baseline, start, last):
    """Say by plain loops how many epochs run and which is best (None if none is)."""
    sign = 1 if mode == "min" else -1
    best, best_epoch, wait = math.inf, None, 0
    for epoch, value in enumerate(values):
        if epoch < start:
            continue
        improved = math.isfinite(value) and sign * value < best - min_delta
        if improved:
            best, best_epoch = sign * value, epoch
        elif last and sign * value == best and best_epoch is not None:
            best_epoch = epoch
        beats = baseline is None or sign * value < sign * baseline - min_delta
        wait = 0 if improved and beats else wait + 1
        if wait >= max(1, patience):
            return epoch + 1, best_epoch
    return len(values), best_epoch


class Stub:
    """The least that fit's model must be for the callback's decisions."""

    metrics = ()
    weights = ()
    stop_training = False

    def get_weights(self):
        return [np.array(self.epoch)]

    def set_weights(self, weights):
        self.restored = int(weights[0])


FEW = st.sampled_from([0.0, 1.0, 2.0, 3.0, math.nan, math.inf, -math.inf])


@settings(max_examples=300, deadline=None)
@given(
    values=st.lists(FEW, min_size=1, max_size=9),
    patience=st.integers(0, 4),
    min_delta=st.sampled_from([0.0, 1.0, 1.5]),
    mode=st.sampled_from(["min", "max"]),
    baseline=st.sampled_from([None, 0.5, 2.0]),
    start=st.integers(0, 3),
    last=st.booleans(),
)
@example([math.nan, 3.0, 2.0, 1.0], 2, 0.0, "min", None, 0, False)
@example([5.0, 4.0, 3.0, 2.0], 2, 0.0, "min", 0.1, 0, False)
@example([2.0, 1.0, 2.0, 1.0], 4, 0.0, "min", None, 0, True)
def test_decisions_are_those_of_plain_loops(
    values, patience, min_delta, mode, baseline, start, last
):
    callback = EarlyStopping(
        patience=patience,
        min_delta=min_delta,
        mode=mode,
        baseline=baseline,
        start_from_epoch=start,
        prefer_last=last,
        verbose=0,
    )
    model = Stub()
    callback.set_model(model)
    callback.on_train_begin()
    epochs = 0
    for epoch, value in enumerate(values):
        model.epoch = epoch
        callback.on_epoch_end(epoch, {"val_loss": value})
        epochs += 1
        if model.stop_training:
            break
    callback.on_train_end()
    expected_epochs, expected_best = reference(
        values, patience, min_delta, mode, baseline, start, last
    )
    assert (epochs, callback.best_epoch) == (expected_epochs, expected_best)
    assert getattr(model, "restored", None) == expected_best


def test_best_weights_come_back_when_stopped_and_when_epochs_run_out():
    assert run(EarlyStopping(patience=2, verbose=0), [3, 1, 2, 2, 2]) == (4, 1)
    assert run(EarlyStopping(patience=9, verbose=0), [3, 2, 1, 2, 3]) == (5, 2)


def test_the_first_of_equal_epochs_is_kept_unless_the_last_is_asked_for():
    assert run(EarlyStopping(patience=3, verbose=0), [3, 1, 2, 1, 1, 1]) == (5, 1)
    assert run(EarlyStopping(patience=3, verbose=0, prefer_last=True), [3, 1, 2, 1, 1]) == (5, 4)


def test_weights_of_nan_are_never_the_best(capsys):
    def run_with_nan_in(*epochs):
        breaking = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: set_all(model, np.nan) if epoch in epochs else None
        )
        model, stop = make_model(), EarlyStopping(patience=9)
        with pytest.warns(UserWarning, match="weight '.*/kernel' is NaN .* not the best") as warned:
            model.fit(X, Y, epochs=4, verbose=0, callbacks=[Script([3, 2, 1, 0]), breaking, stop])
        assert sum("not the best" in str(one.message) for one in warned) == 1
        return model.get_weights()[0].item(), stop.best_epoch

    assert run_with_nan_in(2, 3) == (1, 1)
    _, epoch = run_with_nan_in(0, 1, 2, 3)
    assert epoch is None
    assert "the last weights, because the weight" in capsys.readouterr().out


@pytest.mark.parametrize("swap_on_epoch", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_beside_averages_it_keeps_what_was_validated(first, swap_on_epoch):
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(32, 1))
    model = make_model(optimizer=keras.optimizers.SGD(0.3, use_ema=True, ema_momentum=0.8))
    stop = EarlyStopping(patience=9, verbose=0)
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=swap_on_epoch)
    fit = {
        "validation_data": (x, 2 * x),
        "epochs": 3,
        "verbose": 0,
        "callbacks": [swap, stop] if first else [stop, swap],
    }
    if first and swap_on_epoch:
        model.fit(x, 2 * x, **fit)
        assert model.evaluate(x, 2 * x, verbose=0) == pytest.approx(stop.best, rel=1e-4)
    else:
        with pytest.raises(ValueError, match=r"SwapEMAWeights\(swap_on_epoch=True\), EarlyStop"):
            model.fit(x, 2 * x, **fit)


def test_without_restoring_the_last_weights_stay():
    callback = EarlyStopping(patience=2, restore_best_weights=False, verbose=0)
    assert run(callback, [3, 1, 2, 2, 2]) == (4, 3)
    assert callback.best_weights is None and callback.best == 1
    with pytest.raises(ValueError, match="restore_best_weights=False"):
        callback.restore_best()


def test_a_second_fit_starts_afresh():
    callback = EarlyStopping(patience=2, verbose=0)
    assert run(callback, [1, 2, 2]) == (3, 0)
    assert run(callback, [9, 8, 7]) == (3, 2)
    assert callback.best == 7


def test_a_second_fit_of_another_kind_of_quantity_infers_the_direction_anew():
    callback = EarlyStopping(monitor="val_score", patience=9, verbose=0)
    up = make_model(metrics=[keras.metrics.BinaryAccuracy(name="score")])
    down = make_model(metrics=[keras.metrics.MeanAbsoluteError(name="score")])
    assert run(callback, [0.1, 0.3, 0.2], up, "val_score")[1] == 1
    assert run(callback, [0.1, 0.3, 0.2], down, "val_score")[1] == 0


@pytest.mark.parametrize(
    ("metric", "name", "best"),
    [
        ("accuracy", "accuracy", 1),
        ("accuracy", "val_accuracy", 1),
        ("mae", "val_mae", 0),
        (keras.metrics.AUC(name="area"), "val_area", 1),
        (keras.metrics.MeanSquaredError(name="gain"), "val_gain", 0),
        ("mae", "loss", 0),
    ],
)
def test_direction_is_that_of_the_metric(metric, name, best):
    callback = EarlyStopping(monitor=name, patience=9, verbose=0)
    assert run(callback, [0.1, 0.3, 0.2], make_model(metrics=[metric]), name)[1] == best


def test_direction_of_a_metric_of_one_of_several_outputs():
    inputs = keras.Input((1,))
    outputs = [keras.layers.Dense(1, name=name)(inputs) for name in ("left", "right")]
    model = keras.Model(inputs, outputs)
    model.compile("sgd", ["mse", "mse"], metrics=[["mae"], ["accuracy"]])
    for name, best in (("val_right_accuracy", 1), ("val_left_mae", 0), ("val_left_loss", 0)):
        callback = EarlyStopping(monitor=name, patience=9, verbose=0)
        model.fit(X, [Y, Y], epochs=2, verbose=0, callbacks=[Script([0.1, 0.3], name), callback])
        assert callback.best_epoch == best, name


def test_direction_is_asked_for_where_the_model_does_not_say():
    def accuracy_loss_score(y_true, y_pred):
        return keras.ops.mean(y_pred - y_true)

    model = make_model(metrics=[accuracy_loss_score])
    with pytest.raises(ValueError, match="Pass mode='max' or mode='min'"):
        run(EarlyStopping(monitor="accuracy_loss_score"), [1, 2], model, "other")
    callback = EarlyStopping(monitor="val_accuracy_loss_score", mode="max", verbose=0, patience=9)
    assert run(callback, [1, 2, 0], model, "val_accuracy_loss_score")[1] == 1


def test_no_validation_data_is_an_error_that_says_so():
    model = make_model()
    with pytest.raises(ValueError, match=r"'val_loss'.*logs have: loss\..*validation_data"):
        model.fit(X, Y, epochs=3, verbose=0, callbacks=[EarlyStopping()])


def test_a_misspelt_name_is_an_error_with_the_names_there_are():
    model = make_model(metrics=["accuracy"])
    with pytest.raises(ValueError, match="logs have: accuracy, loss, .*'val_accuracy'"):
        model.fit(
            X,
            Y,
            verbose=0,
            validation_data=(X, Y),
            callbacks=[EarlyStopping(monitor="val_acuracy")],
        )
    with pytest.raises(ValueError, match="Choose one of them, or add the metric in compile"):
        model.fit(X, Y, verbose=0, callbacks=[EarlyStopping(monitor="zzz")])


def test_epochs_without_validation_do_not_count():
    callback = EarlyStopping(patience=2, verbose=0)
    history = make_model().fit(
        X, Y, epochs=12, verbose=0, validation_data=(X, Y), validation_freq=3, callbacks=[callback]
    )
    # Nothing is left to learn, so that validation in epochs 3, 6 and 9 gives 0 each time.
    assert len(history.epoch) == 9 and callback.best_epoch == 2


def test_validation_that_never_came_is_an_error():
    with pytest.raises(ValueError, match="never saw 'val_loss'.*validation_freq"):
        make_model().fit(
            X,
            Y,
            epochs=2,
            verbose=0,
            validation_data=(X, Y),
            validation_freq=5,
            callbacks=[EarlyStopping()],
        )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"mode": "minimum"}, ValueError, "mode must be .*'minimum'"),
        ({"monitor": ""}, ValueError, "monitor must be a name"),
        ({"monitor": None}, TypeError, "monitor must be a name"),
        ({"min_delta": -0.1}, ValueError, "min_delta must be .*-0.1"),
        ({"min_delta": math.nan}, ValueError, "min_delta must be .*nan"),
        ({"min_delta": "0.1"}, TypeError, "min_delta must be .*'0.1'"),
        ({"patience": -1}, ValueError, "patience must be .*-1"),
        ({"patience": 1.5}, TypeError, "patience must be .*1.5"),
        ({"patience": True}, TypeError, "patience must be .*True"),
        ({"baseline": math.inf}, ValueError, "baseline must be .*inf"),
        ({"start_from_epoch": -2}, ValueError, "start_from_epoch must be .*-2"),
    ],
)
def test_arguments_are_checked_when_it_is_made(arguments, error, message):
    with pytest.raises(error, match=message):
        EarlyStopping(**arguments)


@pytest.mark.parametrize(
    ("arguments", "values", "line"),
    [
        ({"patience": 2}, [3, 1, 2, 2], "kept the weights of epoch 2, the best val_loss (1); "
         "stopped after epoch 4: no improvement in 2 epochs."),
        ({"patience": 1, "min_delta": 0.5}, [3, 2.9], "kept the weights of epoch 1, the best "
         "val_loss (3); stopped after epoch 2: no improvement by more than 0.5 in 1 epoch."),
        ({"patience": 9}, [3, 1], "kept the weights of epoch 2, the best val_loss (1); "
         "fit ran all epochs."),
        ({"patience": 1}, [math.nan], "kept the last weights, because val_loss was never finite; "
         "stopped after epoch 1: no improvement in 1 epoch."),
        ({"start_from_epoch": 5}, [1, 2], "kept the last weights, because epoch 6, the first that "
         "counts, was not reached; fit ran all epochs."),
        ({"baseline": 0.5, "patience": 9}, [3, 1], "kept the weights of epoch 2, the best val_loss "
         "(1), although it does not beat the baseline 0.5; fit ran all epochs."),
        ({"restore_best_weights": False, "patience": 9}, [1, 2], "kept the last weights, not those "
         "of epoch 1, the best val_loss (1); fit ran all epochs."),
    ],
)  # fmt: skip
def test_one_line_says_what_was_kept_and_why(capsys, arguments, values, line):
    run(EarlyStopping(**arguments), values)
    assert capsys.readouterr().out == f"EarlyStopping: {line}\n"
    run(EarlyStopping(verbose=0, **arguments), values)
    assert capsys.readouterr().out == ""


def test_state_survives_a_save_and_a_resume(tmp_path):
    whole = EarlyStopping(patience=3, verbose=0)
    values = [5, 2, 3, 4, 4, 4]
    assert run(whole, values) == (5, 1)

    first = EarlyStopping(patience=3, verbose=0)
    run(first, values, epochs=3)
    state = first.state_dict()
    weights = state.pop("best_weights")
    np.savez(tmp_path / "best.npz", *weights)
    saved = json.dumps(state)

    with np.load(tmp_path / "best.npz") as archive:
        restored = {**json.loads(saved), "best_weights": list(archive.values())}
    second = EarlyStopping(patience=3, verbose=0)
    second.load_state_dict(restored)
    assert run(second, values, initial_epoch=3) == (2, 1)
    assert (second.best, second.best_epoch, second.stopped_epoch) == (2, 1, 4)


def test_a_loaded_state_counts_for_one_fit_only():
    callback = EarlyStopping(patience=9, verbose=0)
    run(callback, [1, 2])
    callback.load_state_dict(callback.state_dict())
    assert run(callback, [3, 2]) == (2, 0)
    assert callback.best == 1
    run(callback, [3, 2])
    assert callback.best == 2


def test_state_does_not_share_arrays():
    callback = EarlyStopping(verbose=0)
    run(callback, [1])
    state = callback.state_dict()
    state["best_weights"][0][:] = 7
    assert callback.best_weights[0].max() == 0


def test_unfit_states_are_refused():
    callback = EarlyStopping(patience=9, verbose=0)
    run(callback, [1, 2])
    state = callback.state_dict()
    with pytest.raises(ValueError, match="must have the keys best_weights"):
        callback.load_state_dict({key: state[key] for key in state if key != "best_weights"})
    with pytest.raises(ValueError, match="monitor='val_loss'.*'loss'"):
        EarlyStopping(monitor="loss").load_state_dict(state)
    with pytest.raises(ValueError, match="direction='min'.*'max'"):
        EarlyStopping(mode="max").load_state_dict(state)
    with pytest.raises(ValueError, match="no best_weights"):
        EarlyStopping().load_state_dict({**state, "best_weights": None})
    other = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    other.compile("sgd", "mse")
    callback.load_state_dict(state)
    with pytest.raises(ValueError, match="of another model: 2 arrays, while this model has 4"):
        run(callback, [1], other)
