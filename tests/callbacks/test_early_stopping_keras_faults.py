"""What keras.callbacks.EarlyStopping gets wrong, shown on it first, and ours beside it.

The first of each pair documents the fault in the Keras that is installed. If one fails, Keras has
mended it: take the sentence on it out of our docstring.
"""

import math

import keras
import pytest
from test_early_stopping import Script, X, Y, make_model, run, set_all

from keras_dlcourse.callbacks import EarlyStopping

KERAS = keras.callbacks.EarlyStopping


def theirs(**arguments):
    return KERAS(restore_best_weights=True, **arguments)


def ours(**arguments):
    return EarlyStopping(verbose=0, **arguments)


def test_a_nan_first_epoch_becomes_the_best():
    values = [math.nan, 3.0, 2.0, 1.0]
    assert run(theirs(patience=2), values) == (3, 0)  # stops while improving, restores epoch 1
    assert run(ours(patience=2), values) == (4, 3)


class InterruptAt(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 3:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("make", "kept"), [(theirs, 2), (ours, 0)])
def test_a_keyboard_interrupt_leaves_the_last_weights(make, kept):
    model = make_model()
    values = [1.0, 2.0, 3.0, 4.0]
    with pytest.raises(KeyboardInterrupt):
        model.fit(
            X, Y, epochs=4, verbose=0, callbacks=[Script(values), make(patience=9), InterruptAt()]
        )
    assert model.get_weights()[0].max() == kept


def test_a_missing_quantity_only_warns_and_the_callback_is_inactive():
    with pytest.warns(UserWarning, match="not available"):
        make_model().fit(X, Y, epochs=2, verbose=0, callbacks=[theirs()])
    with pytest.raises(ValueError, match="pass validation_data"):
        make_model().fit(X, Y, epochs=2, verbose=0, callbacks=[ours()])


def test_an_unknown_mode_is_replaced_and_a_negative_min_delta_is_turned():
    with pytest.warns(UserWarning, match="fallback to auto"):
        assert theirs(mode="maximum").mode == "auto"
    assert theirs(min_delta=-3).min_delta == 3
    for arguments in ({"mode": "maximum"}, {"min_delta": -3}):
        with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be"):
            ours(**arguments)


def test_a_resumed_fit_forgets_the_best_and_its_weights():
    model, callback = make_model(), theirs(patience=9)
    assert run(callback, [1.0, 2.0], model) == (2, 0)
    set_all(model, 1)
    assert run(callback, [None, None, 3.0, 2.5], model, epochs=4, initial_epoch=2) == (2, 3)

    model, callback = make_model(), ours(patience=9)
    assert run(callback, [1.0, 2.0], model) == (2, 0)
    callback.load_state_dict(callback.state_dict())
    assert run(callback, [None, None, 3.0, 2.5], model, epochs=4, initial_epoch=2) == (2, 0)


def test_a_baseline_that_is_never_reached_does_not_stop_while_there_is_improvement():
    values = [5.0, 4.0, 3.0, 2.0]
    assert run(theirs(patience=2, baseline=0.1), values)[0] == 4  # its docstring says 2
    assert run(ours(patience=2, baseline=0.1), values) == (2, 1)


def test_a_metric_of_one_of_several_outputs_has_no_direction():
    inputs = keras.Input((1,))
    outputs = [keras.layers.Dense(1, name=name)(inputs) for name in ("a", "b")]
    model = keras.Model(inputs, outputs)
    model.compile("sgd", ["mse", "mse"], metrics=[["mae"], ["mae"]])
    with pytest.raises(ValueError, match="isn't able to automatically determine"):
        model.fit(X, [Y, Y], verbose=0, callbacks=[theirs(monitor="a_mae")])
    model.fit(X, [Y, Y], verbose=0, callbacks=[ours(monitor="a_mae")])


def test_best_weights_come_back_when_epochs_run_out():
    """Keras does this as well (not by default); it is here so that ours does not lose it."""
    assert run(theirs(patience=9), [3.0, 1.0, 2.0]) == (3, 1)
    assert run(KERAS(patience=9), [3.0, 1.0, 2.0]) == (3, 2)
    assert run(ours(patience=9), [3.0, 1.0, 2.0]) == (3, 1)
