"""EarlyStopping when `fit` is left by a real SIGINT, or a KeyboardInterrupt from elsewhere."""

import os
import signal
import threading
import time

import keras
import numpy as np
import pytest
from test_early_stopping import Script, make_model

from keras_dlcourse.callbacks import EarlyStopping

X, Y = np.zeros((12, 1), "float32"), np.zeros((12, 1), "float32")
VALUES = [3.0, 1.0, 2.0, 2.5, 2.5]  # epoch 1 is the best
BEST = 1


@pytest.fixture(autouse=True)
def sigint_is_given_back():
    before = signal.getsignal(signal.SIGINT)
    assert before is signal.default_int_handler
    yield
    after = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)
    assert after is before


class At(keras.callbacks.Callback):
    """Do something once, at one hook of one epoch, and record what happens after."""

    def __init__(self, hook, act, epoch=3, batch=1):
        super().__init__()
        self.epoch, self.when, self.act, self.after = None, (epoch, batch), act, []
        for name in ("on_train_batch_begin", "on_train_batch_end", "on_test_batch_end"):
            if name == hook:
                setattr(self, name, self.at_batch)
            elif name == "on_train_batch_end":
                setattr(self, name, lambda batch, logs=None: self.after.append(batch))
        if hook == "on_epoch_end":
            self.on_epoch_end = lambda epoch, logs=None: epoch == self.when[0] and act()

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self.after.clear()

    def at_batch(self, batch, logs=None):
        if (self.epoch, batch) == self.when:
            self.act()
            self.after.clear()


def press():
    os.kill(os.getpid(), signal.SIGINT)


def raise_it():
    raise KeyboardInterrupt("from a callback")


def fit(*callbacks, data=(X, Y), **arguments):
    """Fit, expect a KeyboardInterrupt, and return the weight that the model is left with."""
    model = make_model()
    arguments = {"validation_data": (X, Y), "epochs": len(VALUES), **arguments}
    with pytest.raises(KeyboardInterrupt):
        model.fit(
            *data, batch_size=4, verbose=0, callbacks=[Script(VALUES), *callbacks], **arguments
        )
    assert all(np.ptp(weight) == 0 for weight in model.get_weights())
    return model.get_weights()[0].item()


@pytest.mark.parametrize(
    "hook", ["on_train_batch_begin", "on_train_batch_end", "on_test_batch_end", "on_epoch_end"]
)
@pytest.mark.parametrize("act", [press, raise_it])
def test_best_weights_come_back(hook, act, capsys):
    stop = EarlyStopping(patience=9)
    assert fit(stop, At(hook, act)) == BEST
    out, err = capsys.readouterr()
    assert out == (
        "\nEarlyStopping: kept the weights of epoch 2, the best val_loss (1); "
        "interrupted in epoch 4.\n"
    )
    assert ("Interrupt again to stop at once" in err) == (act is press)


def test_the_batch_under_way_is_finished_and_no_other_begun():
    at = At("on_train_batch_begin", press, batch=1)
    fit(EarlyStopping(patience=9, verbose=0), at)
    assert at.after == [1]


def test_interrupt_from_another_thread_of_the_process():
    def press_there():
        thread = threading.Thread(target=press)
        thread.start()
        thread.join()

    assert fit(EarlyStopping(patience=9, verbose=0), At("on_train_batch_end", press_there)) == BEST


def test_a_second_interrupt_does_not_wait():
    pressed = []

    def press_twice():
        press()
        pressed.append(1)
        press()
        pressed.append(2)

    assert fit(EarlyStopping(patience=9, verbose=0), At("on_train_batch_end", press_twice)) == BEST
    assert pressed == [1]


def test_before_there_is_a_best_epoch_an_interrupt_does_not_wait():
    reached = []

    def press_and_note():
        press()
        reached.append(1)

    at = At("on_train_batch_end", press_and_note, epoch=0)
    model = make_model()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=4, verbose=0, callbacks=[EarlyStopping(), at])
    assert not reached


def test_without_restoring_the_signal_is_left_alone():
    stop = EarlyStopping(patience=9, restore_best_weights=False, verbose=0)
    assert fit(stop, At("on_epoch_end", press)) == 3


def test_a_handler_of_the_users_own_keeps_its_meaning():
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(1))
    try:
        model = make_model()
        callbacks = [Script(VALUES), EarlyStopping(patience=9, verbose=0)]
        at = At("on_train_batch_end", press)
        history = model.fit(X, Y, epochs=5, batch_size=4, verbose=0, callbacks=[*callbacks, at])
        assert len(history.epoch) == 5 and pressed == [1]
    finally:
        signal.signal(signal.SIGINT, before)


def test_two_in_one_fit_both_restore_and_give_the_signal_back():
    stops = [EarlyStopping(patience=9, verbose=0), EarlyStopping(patience=9, verbose=0)]
    assert fit(*stops, At("on_train_batch_end", press)) == BEST
    model = make_model()
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[Script(VALUES), *stops])


def test_fit_in_another_thread_still_works():
    ended = []

    def work():
        callbacks = [Script(VALUES), EarlyStopping(patience=1, verbose=0)]
        ended.append(make_model().fit(X, Y, epochs=5, verbose=0, callbacks=callbacks).epoch)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == [[0, 1, 2]]


def test_restore_best_for_those_who_catch_it_themselves():
    def batches():
        for number in range(100):
            if number == 11:
                raise KeyboardInterrupt
            yield X[:4], Y[:4]

    stop = EarlyStopping(patience=9, verbose=0)
    model = make_model()
    try:
        model.fit(
            batches(), steps_per_epoch=3, epochs=5, verbose=0, callbacks=[Script(VALUES), stop]
        )
    except BaseException:  # TensorFlow turns it into an error of its own
        stop.restore_best()
    assert model.get_weights()[0].item() == BEST
    stop.on_train_end({})  # as nothing else ends this run; gives the signal back


def test_a_handler_left_behind_by_a_fit_that_died_does_not_hold_interrupts_back():
    stop = EarlyStopping(patience=9, verbose=0)
    model = make_model()

    def batches():
        yield from [(X[:4], Y[:4])] * 6
        yield X[:4], np.zeros((3, 1), "float32")  # another length than its inputs

    with pytest.raises(Exception, match="."):
        model.fit(
            batches(), steps_per_epoch=3, epochs=5, verbose=0, callbacks=[Script(VALUES), stop]
        )
    assert stop.best_weights is not None
    with pytest.raises(KeyboardInterrupt):
        press()
        time.sleep(1)
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[Script(VALUES), stop])


def test_an_error_in_another_callback_goes_through():
    def fail():
        raise RuntimeError("mine")

    stop = EarlyStopping(patience=9, verbose=0)
    model = make_model()
    at = At("on_epoch_end", fail)
    with pytest.raises(RuntimeError, match="mine"):
        model.fit(X, Y, epochs=5, verbose=0, callbacks=[Script(VALUES), stop, at])
    assert model.get_weights()[0].item() == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[Script(VALUES), stop])


def test_a_callback_that_refuses_to_begin_leaves_the_signal_alone():
    class Refuse(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        make_model().fit(X, Y, verbose=0, callbacks=[EarlyStopping(), Refuse()])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
