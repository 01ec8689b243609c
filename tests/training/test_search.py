"""Searches: what they choose, that they go on after a kill, that workers change nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import joblib
import keras
import numpy as np
import pytest
from search_models import CLASSES, X, Y, classifier, linear, network, quiet
from sklearn import model_selection

import keras_dlcourse as kd
from keras_dlcourse.training.search import parts
from keras_dlcourse.training.search.splits import make_splits

DATA = (X, CLASSES)
FEW = {"epochs": 1, "batch_size": 60}
MORE = {"epochs": 2, "batch_size": 16}


def _search(values=(2, 5), k=2, build=classifier, **arguments):
    return kd.training.select(
        build, DATA, values, k, **{"fit": FEW, "say": quiet, "seed": 3, **arguments}
    )


class TestChoice:
    @pytest.mark.slow
    def test_the_best_mean_is_chosen_and_fitted_on_all(self):
        rates = [1e-6, 0.2, 1e6]  # too slow, right, diverging
        found = kd.training.select(
            linear, (X, Y), rates, 3, fit={"epochs": 15, "batch_size": 60}, say=quiet
        )
        assert found.value == 0.2 and found.values == tuple(rates)
        assert not np.isfinite(found.means[2])
        exact = np.linalg.lstsq(np.c_[X, np.ones(60)], Y, rcond=None)[0]
        np.testing.assert_allclose(found.model.get_weights()[0][:, 0], exact[:-1], atol=0.15)
        assert "chosen" in str(found) and found.scores["loss"].shape == (3, 3)
        assert found.training_scores["loss"][1].mean() < found.means[1]

    def test_a_metric_and_its_direction(self):
        found = _search(monitor="accuracy")
        best = found.scores["accuracy"].mean(axis=1).argmax()
        assert found.value == found.values[best]
        assert _search(monitor="accuracy", mode="min").value == found.values[1 - best]

    def test_penalties_of_the_model_are_not_measured(self):
        def build(strength):
            penalty = keras.regularizers.L2(strength)
            model = keras.Sequential(
                [keras.Input((6,)), keras.layers.Dense(1, kernel_regularizer=penalty)]
            )
            model.compile(keras.optimizers.SGD(0.0), "mse")
            return model

        found = kd.training.select(build, (X, Y), [0.0, 50.0], 2, refit=False, say=quiet)
        np.testing.assert_allclose(*found.scores["loss"], rtol=1e-6)

    def test_fit_may_be_a_function(self):
        def fit(model, train, rate):
            x, y = train
            model.optimizer.learning_rate = rate
            model.fit(x, y, epochs=9, verbose=0)

        found = kd.training.select(lambda rate: linear(), (X, Y), [0.1, 0.0], 2, fit=fit, say=quiet)
        assert found.value == 0.1

    def test_callbacks_are_new_for_each_fit(self):
        made = []

        def callbacks():
            made.append(keras.callbacks.EarlyStopping("loss", patience=0))
            return made[-1:]

        _search(fit={**FEW, "callbacks": callbacks}, refit=False)
        assert len({id(one) for one in made}) == 4

    def test_pipelines_weights_and_several_tasks(self):
        images = np.random.default_rng(0).integers(0, 255, (40, 4, 4, 1)).astype("uint8")
        y = images.mean(axis=(1, 2, 3)) > 127
        data = kd.data.pipeline(
            images, y, batch_size=8, shuffle=True, class_weight={1: 2.0},
            normalization=kd.data.Normalization.fit(images),
        )  # fmt: skip

        def build():
            layers = [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)]
            model = keras.Sequential(layers)
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(keras.optimizers.Adam(0.05), loss, metrics=["accuracy"])
            return model

        found = kd.training.cross_validate(build, data, 2, fit={"epochs": 15}, say=quiet)
        assert found.means["accuracy"] > 0.6
        some = parts.part(data, np.array([3, 1]))
        np.testing.assert_array_equal(some.x, images[[3, 1]])
        np.testing.assert_array_equal(some.sample_weight, data.sample_weight[[3, 1]])
        x, y, weights = parts.part(({"a": X}, [Y, Y], Y), np.array([5, 5]))
        np.testing.assert_array_equal(x["a"], X[[5, 5]])
        assert len(y) == 2 and weights.shape == (2,)


class TestSplits:
    def test_stratified_plain_and_grouped(self):
        share = CLASSES.mean()
        for train, validation in make_splits(DATA, 3, None, 0):
            assert abs(CLASSES[validation].mean() - share) < 0.06
            assert len(np.union1d(train, validation)) == 60
        groups = np.arange(60) // 6
        for data in (DATA, (X, Y)):
            for train, validation in make_splits(data, 5, groups, 0):
                assert not set(groups[train]) & set(groups[validation])
        assert len(make_splits((X, Y), model_selection.LeaveOneOut(), None, 0)) == 60

    def test_bootstrap(self):
        splits = make_splits(DATA, kd.data.Bootstrap(50, seed=2), None, 0)
        assert all(len(drawn) == 60 for drawn, _ in splits)
        distinct = np.mean([len(np.unique(drawn)) for drawn, _ in splits]) / 60
        assert distinct == pytest.approx(1 - (1 - 1 / 60) ** 60, abs=0.02)  # its expectation
        for drawn, missed in splits:
            assert set(missed) == set(range(60)) - set(drawn)
        for drawn, missed in kd.data.Bootstrap(30).split(np.zeros(2)):
            assert len(missed) == 1 and len(drawn) == 2
        assert kd.data.Bootstrap(4).get_n_splits() == 4
        with pytest.raises(ValueError, match="2 examples"):
            next(kd.data.Bootstrap(1).split([1]))
        with pytest.raises(ValueError, match=r"samples.*0"):
            kd.data.Bootstrap(0)

    @pytest.mark.parametrize(
        ("k", "groups", "message"),
        [
            (1, None, "k must be an integer of at least 2"),
            ("five", None, "k must be an integer"),
            (61, None, "at most the number of examples, 60"),
            (50, None, "each class"),
            (3, np.zeros(60), "at most the number of groups, 1"),
            (3, [1, 2], "groups must have one"),
            ([([0, 1], [1, 2])], None, "validates on 1 of its training examples"),
            ([([0, 1], [60])], None, "0 to 59"),
            ([], None, "at least one split"),
        ],
    )
    def test_bad_ones(self, k, groups, message):
        with pytest.raises((ValueError, TypeError), match=message):
            make_splits(DATA, k, groups, 0)


class TestResume:
    @pytest.mark.slow
    def test_a_killed_cross_validation_runs_only_what_is_missing(self, tmp_path):
        script = tmp_path / "script.py"
        script.write_text(
            textwrap.dedent(f"""
            import os, signal, sys
            sys.path.insert(0, {str(Path(__file__).parent)!r})
            from search_models import CLASSES, X, classifier, quiet
            import keras_dlcourse as kd
            def fit(model, train, value):
                with open("fitted", "a") as log:
                    log.write("fit\\n")
                if "die" in sys.argv and len(open("fitted").readlines()) == 3:
                    os.kill(os.getpid(), signal.SIGKILL)
                model.fit(*train, verbose=0)
            found = kd.training.cross_validate(classifier, (X, CLASSES), 4, fit=fit, folder="run",
                                               say=print)
            print(found.means["loss"])
            """)
        )

        # What takes long is to import TensorFlow: once, then a fork is a new process.
        fork = textwrap.dedent("""
            import os, sys, traceback
            import keras_dlcourse.training
            for line in sys.stdin:
                sys.argv = line.split()
                child = os.fork()
                if not child:
                    try:
                        exec(open(sys.argv[0]).read())
                        sys.stdout.flush()
                    except BaseException:
                        traceback.print_exc()
                        os._exit(1)
                    os._exit(0)
                print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        """)
        with subprocess.Popen(
            [sys.executable, "-c", fork], cwd=tmp_path, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as server:  # fmt: skip
            self._kill_and_go_on(tmp_path, script, server)

    @staticmethod
    def _kill_and_go_on(tmp_path, script, server):
        def call(*words):
            print(script, *words, file=server.stdin, flush=True)
            lines = []
            while not lines or not lines[-1].startswith("ended"):
                lines.append(server.stdout.readline().strip())
                assert lines[-1] or server.poll() is None
            return int(lines.pop().split()[1]), lines

        assert call("die")[0] == -signal.SIGKILL
        assert len(list((tmp_path / "run/fits").glob("*.json"))) == 2
        code, said = call()
        assert code == 0
        assert "2 fits (1 values x 4 folds, 2 done before)" in "\n".join(said)
        assert len((tmp_path / "fitted").read_text().splitlines()) == 3 + 2
        (tmp_path / "other").mkdir()
        (tmp_path / "run").rename(tmp_path / "other/run")
        assert call()[1][-1] == said[-1]

    def test_a_search_that_is_through_fits_nothing_and_gives_the_same(self, tmp_path):
        test = (X[:10], CLASSES[:10])
        first = _search(folder=tmp_path / "run", test=test)
        assert (tmp_path / "run/selection.png").read_bytes()[1:4] == b"PNG"

        lines = []
        again = _search(folder=tmp_path / "run", test=test, say=lines.append)
        assert lines == ["0 fits (2 values x 2 folds, 4 done before) and one on all the data: "
                         + lines[0].rsplit(": ", 1)[1]]  # fmt: skip
        assert again.value == first.value and again.test == first.test
        for one, other in zip(first.model.get_weights(), again.model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_damaged_files_are_fitted_again(self, tmp_path):
        first = _search(folder=tmp_path)
        (tmp_path / "fits/value001-fold000.json").write_text('{"valid')
        (tmp_path / "refit.npz").write_bytes(b"damaged")
        lines = []
        again = _search(folder=tmp_path, say=lines.append)
        assert lines[0].startswith("1 fits (2 values x 2 folds, 3 done before)")
        np.testing.assert_array_equal(again.scores["loss"], first.scores["loss"])
        np.testing.assert_array_equal(again.model.get_weights()[0], first.model.get_weights()[0])

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"values": (2, 6)}, "its values was 5, now it is 6"),
            ({"seed": 4}, "its splits_sha256"),
            ({"k": 3}, "its folds was 2, now it is 3"),
            ({"fit": {**FEW, "epochs": 3}}, "its fit was .*1.* now .*3"),
            ({"monitor": "accuracy"}, "its monitor was loss"),
        ],
    )
    def test_a_changed_search_is_refused(self, tmp_path, changed, message):
        _search(folder=tmp_path, refit=False)
        with pytest.raises(ValueError, match=message):
            _search(folder=tmp_path, refit=False, **changed)

    def test_changed_data_or_model_are_refused(self, tmp_path):
        kd.training.cross_validate(classifier, DATA, 2, folder=tmp_path, say=quiet)
        with pytest.raises(ValueError, match="its data_sha256"):
            other = (X + 1, CLASSES)
            kd.training.cross_validate(classifier, other, 2, folder=tmp_path, say=quiet)
        for build in (lambda: classifier(5), lambda: classifier(2, 0.3)):
            with pytest.raises(ValueError, match="its model was"):
                kd.training.cross_validate(build, DATA, 2, folder=tmp_path, say=quiet)

    def test_the_test_part_is_used_once(self, tmp_path):
        _search(folder=tmp_path)  # none so far
        found = _search(folder=tmp_path, test=(X[:10], CLASSES[:10]))
        _search(folder=tmp_path)
        kept = json.loads((tmp_path / "results.json").read_text())
        assert kept["test"]["loss"] == pytest.approx(found.test["loss"])
        with pytest.raises(ValueError, match="another test part already"):
            _search(folder=tmp_path, test=(X[:11], CLASSES[:11]))

    def test_folders_of_others(self, tmp_path):
        (tmp_path / "letter.txt").write_text("dear")
        with pytest.raises(FileExistsError, match="something else"):
            _search(folder=tmp_path)


class Built:
    """Builds on layers that were made outside of it."""

    def __init__(self, trainable=True, put_back=False):
        keras.utils.set_random_seed(0)
        self.base = keras.Sequential(
            [keras.Input((6,)), keras.layers.Dense(3), keras.layers.BatchNormalization()]
        )
        self.base.trainable = trainable
        self.start = self.base.get_weights() if put_back else None

    def __call__(self, value=None):
        if self.start is not None:
            self.base.set_weights(self.start)
        model = keras.Sequential([self.base, keras.layers.Dense(2, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        return model


class TestTrainedBefore:
    """Validation parts that an earlier fit has trained on."""

    SAID = "no earlier fit has trained.*Received: one with '.*kernel'"

    def test_one_and_the_same_model(self):
        model = classifier()
        with pytest.raises(ValueError, match=self.SAID):
            kd.training.cross_validate(lambda: model, DATA, 3, fit=FEW, say=quiet)

    def test_a_new_head_on_a_base_that_is_trained(self):
        with pytest.raises(ValueError, match=self.SAID):
            kd.training.cross_validate(Built(), DATA, 3, fit=FEW, say=quiet)

    def test_of_all_searches_and_after_the_trial_of_the_time_it_takes(self):
        with pytest.raises(ValueError, match=self.SAID):
            _search((1, 2, 3), 2, Built())
        with pytest.raises(ValueError, match=self.SAID):
            kd.training.select_weight_decay(Built(), DATA, [0.0, 1.0], 2, fit=FEW, say=quiet)

        shared = Built()

        def choose(train, test, folder):
            return kd.training.select(shared, train, [1], 2, fit=FEW, test=test, say=quiet)

        with pytest.raises(ValueError, match=self.SAID):
            kd.training.nested(choose, DATA, 2, say=quiet)

    def test_in_threads(self):
        with (
            joblib.parallel_config(backend="threading", n_jobs=2),
            pytest.raises(ValueError, match=self.SAID),
        ):
            kd.training.cross_validate(Built(), DATA, 2, fit=FEW, say=quiet)

    def test_an_optimizer_that_goes_on(self):
        optimizer = keras.optimizers.Adam()
        model, start = classifier(), classifier().get_weights()

        def build():
            model.set_weights(start)
            model.compile(optimizer, "sparse_categorical_crossentropy", run_eagerly=True)
            return model

        with pytest.raises(ValueError, match="Received: one with '.*iteration'"):
            kd.training.cross_validate(build, DATA, 2, fit=FEW, say=quiet)

    @pytest.mark.parametrize("options", [{"trainable": False}, {"put_back": True}])
    def test_what_is_frozen_or_put_back_may_be_shared(self, options):
        found = kd.training.cross_validate(Built(**options), DATA, 2, fit=FEW, say=quiet)
        assert np.isfinite(found.scores["loss"]).all()


def test_lists_of_numbers_are_data():
    lists = (X.tolist(), CLASSES.tolist())
    found, expected = (
        kd.training.cross_validate(classifier, data, 2, fit=FEW, say=quiet)
        for data in (lists, DATA)
    )
    np.testing.assert_allclose(found.scores["loss"], expected.scores["loss"], rtol=1e-5)


class TestWorkers:
    @pytest.fixture(scope="class")
    @classmethod
    def alone(cls):
        return _search(build=network, fit=MORE)

    @staticmethod
    def _assert_same(found, alone):
        for name, scores in alone.scores.items():
            np.testing.assert_allclose(found.scores[name], scores, rtol=1e-6)
        for one, other in zip(found.model.get_weights(), alone.model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.slow
    def test_loky(self, alone, tmp_path):
        before = dict(os.environ)
        big = lambda units: network(units)  # noqa: E731 - not importable, so pickled by value
        found = kd.training.select(
            big, DATA, [2, 5], 2, fit=MORE, seed=3, say=quiet, n_jobs=2, folder=tmp_path
        )
        self._assert_same(found, alone)
        assert dict(os.environ) == before
        assert len(list((tmp_path / "fits").glob("*.json"))) == 4

    @pytest.mark.release
    def test_dask(self, alone):
        distributed = pytest.importorskip("distributed")
        with (
            distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster,
            distributed.Client(cluster),
            joblib.parallel_config(backend="dask"),
        ):
            self._assert_same(_search(build=network, fit=MORE), alone)

    def test_threads_take_turns(self, alone):
        """Keras has one random state a process."""
        with joblib.parallel_config(backend="threading", n_jobs=3):
            self._assert_same(_search(build=network, fit=MORE), alone)

    def test_other_threads_may_draw_random_numbers(self, alone):
        """As the timers of Dask's workers do."""
        over = threading.Event()

        def draw():
            while not over.wait(0.0002):
                random.random()

        thread = threading.Thread(target=draw)
        thread.start()
        try:
            found = _search(build=network, fit=MORE, refit=False)
        finally:
            over.set()
            thread.join()
        np.testing.assert_allclose(found.scores["loss"], alone.scores["loss"], rtol=1e-6)

    @pytest.mark.slow
    def test_settings_go_along(self):
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            found = _search(n_jobs=2, refit=False)
            self_made = _search(refit=False)
        finally:
            keras.config.set_dtype_policy("float32")
        np.testing.assert_allclose(found.scores["loss"], self_made.scores["loss"], rtol=1e-6)
        assert abs(found.scores["loss"] - _search(refit=False).scores["loss"]).max() > 1e-6


class TestNested:
    def test_each_choice_is_tested_on_what_it_has_not_seen(self, tmp_path):
        seen = []

        def choose(train, test, folder):
            seen.append((train[0], test[0]))
            fit = {"epochs": 4, "batch_size": 60}
            return kd.training.select(
                linear, train, [1e-5, 0.1], 2, fit=fit, test=test, folder=folder, say=quiet
            )

        found = kd.training.nested(choose, (X, Y), 3, folder=tmp_path, say=quiet)
        assert found.values == (0.1,) * 3 and found.scores["loss"].shape == (3,)
        assert sorted(len(test) for _, test in seen) == [20] * 3
        np.testing.assert_array_equal(
            np.sort(np.concatenate([test for _, test in seen]), axis=None), np.sort(X, axis=None)
        )
        assert found.means["loss"] < Y.var() and "0.1" in str(found)
        assert all(selection.model is None for selection in found.selections)
        assert {path.name for path in tmp_path.iterdir()} == {"outer000", "outer001", "outer002"}

    def test_what_choose_must_do(self):
        with pytest.raises(TypeError, match="Selection"):
            kd.training.nested(lambda *parts: 3, DATA, 2, say=quiet)
        with pytest.raises(ValueError, match="test"):
            kd.training.nested(lambda *parts: _search(refit=False), DATA, 2, say=quiet)


class TestSaid:
    def test_fits_and_time_are_said_before(self):
        lines = []
        _search(k=3, say=lines.append)
        assert lines[0].startswith("6 fits (2 values x 3 folds) and one on all the data: about")
        assert lines[1].startswith("Chosen: ")

    @pytest.mark.release
    def test_the_estimate_is_of_the_right_size(self):
        import re
        import time

        lines = []
        began = time.monotonic()
        _search((2, 5), 3, fit={"epochs": 30, "batch_size": 4}, say=lines.append, refit=False)
        took = time.monotonic() - began
        ((number, unit),) = re.findall(r"about ([\d.]+) (s|min|h)", lines[0])
        said = float(number) * {"s": 1, "min": 60, "h": 3600}[unit]
        assert took / 8 < said < took * 8  # other processes may come and go

    def test_a_function_cannot_be_foretold(self):
        lines = []
        _search(fit=lambda model, train, value: None, say=lines.append)
        assert "is known after the first" in lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": ()}, "values must not be empty"),
        ({"fit": {"validation_data": 1}}, "fit must not contain 'validation_data'"),
        ({"fit": {"callbacks": []}}, "function that returns a list"),
        ({"fit": 3}, "fit must be"),
        ({"monitor": "speed"}, "monitor must be one of 'accuracy', 'loss'. Received: 'speed'"),
        ({"mode": "best"}, "mode.*best"),
        ({"seed": -1}, "seed"),
        ({"test": X}, "test must be"),
        ({"test": DATA, "refit": False}, "refit=True"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        _search(**arguments)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (3, "build must be a function"),
        (lambda value: None, "compiled Keras model"),
        (lambda value: keras.Sequential([keras.Input((6,))]), "model.compile"),
        (lambda value: linear(1e9), "diverged"),
    ],
)
def test_bad_builds(build, message):
    with pytest.raises((ValueError, TypeError), match=message):
        kd.training.select(build, (X, Y), [1], 2, fit={"epochs": 9}, refit=False, say=quiet)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (X, "cut into folds"),
        ((X, CLASSES[:5]), r"lengths \[5, 60\]"),
        ((X[:1], Y[:1]), "2 examples"),
        (([[1.0, 2.0], [3.0]], [0, 1]), "rows of equal length"),
        ((list(X), CLASSES), r"lengths \[6, 60\].*numpy.stack to make one"),
        (kd.data.pipeline(np.zeros((4, 2, 2, 1))), "must have labels"),
    ],
)
def test_bad_data(data, message):
    with pytest.raises((ValueError, TypeError), match=message):
        kd.training.cross_validate(linear, data, 2)
