"""What a pipeline must know of Keras's trainers, all of it in this file.

`Model.fit(shuffle=True)`, the default, makes Keras shuffle the order of a `PyDataset`'s batches
with Python's global `random`, and a `PyDataset` cannot see or undo it. Keras also takes a data
adapter as it is (`keras.src.trainers.data_adapters.get_data_adapter`), and then asks it for batches
and nothing else. `TrainerData` is both: an adapter, so that its order holds, and a `PyDataset`, so
that everything that knows those knows it. Keras gives adapters no name for what is going on, so
`running_method` looks at the call stack, once an epoch.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from keras_dlcourse.data import checks

try:  # Not public: a Keras that moves them leaves us a plain PyDataset, and a warning in fit.
    from keras.src.trainers.data_adapters.data_adapter import DataAdapter
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter
except ImportError:
    DataAdapter = PyDatasetAdapter = object

IS_ADAPTER = DataAdapter is not object
_BASES = (DataAdapter, keras.utils.PyDataset) if IS_ADAPTER else (keras.utils.PyDataset,)
_METHODS = {
    "fit": "fit",
    "evaluate": "evaluate",
    "predict": "predict",
    # A look at one batch, to build the model: no epoch of training.
    "_symbolic_build": "build",
    "_maybe_symbolic_build": "build",
}


def running_method() -> tuple[str, Mapping[str, Any]]:
    """Tell which method of a Keras model is asking for batches, and what it was called with.

    Returns:
        One of `"fit"`, `"evaluate"`, `"predict"`, `"build"`, or `"other"` outside of all of them;
        and the names in that method, its arguments among them.
    """
    frame = sys._getframe(1)
    while frame is not None:
        method = _METHODS.get(frame.f_code.co_name)
        if method and frame.f_globals.get("__name__", "").startswith("keras.src."):
            return method, frame.f_locals
        frame = frame.f_back  # type: ignore[assignment]
    return "other", {}


class _PassAdapter(PyDatasetAdapter):
    """Keras's adapter of a `PyDataset`, told to take batches from `one_pass` in that order."""

    def _get_iterator(self) -> Iterator[tuple[Any, ...]]:
        # When the first batch is asked for: Keras makes one iterator too many behind each epoch.
        yield from self.py_dataset.one_pass(self.py_dataset.first_batch)


class TrainerData(*_BASES):  # type: ignore[misc]
    """Base of data that decides itself in which order `fit` sees it.

    The order is a function of `seed` and of the number of the epoch, and of nothing else. A
    subclass gives `examples`, `__len__`, `__getitem__` and `one_pass`, and sets its order in
    `begin_pass`.

    Args:
        seed: Seed of the order, 0 or more.

    Attributes:
        first_batch: Number of the batch that the pass which has begun began with; 0 unless it goes
            on within an epoch.
    """

    batch_size: int = 0  # a plain attribute here, a property of the adapter

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = checks.whole_number("seed", seed, least=0)
        self.epoch = 0
        self._done = 0  # batches of the next pass of training that are not to come again
        self.first_batch = 0

    @property
    def examples(self) -> int:
        """Number of images."""
        raise NotImplementedError

    @property
    def rows(self) -> int:
        """Number of rows in all batches of a pass."""
        return self.examples

    @property
    def epoch(self) -> int:
        """Number of the next epoch of `fit`."""
        return self._epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._epoch = checks.whole_number("epoch", value, least=0)

    def state_dict(self, batch: int | None = None) -> dict[str, int]:
        """Return what decides the order from here on, to keep beside a checkpoint.

        Args:
            batch: Within an epoch of `fit`, number of its batches that are done. It has to be told,
                because data is read ahead of the training. None between epochs.
        """
        done = 0 if batch is None else checks.whole_number("batch", batch, least=0)
        epoch = self.epoch - (batch is not None)
        return {"examples": self.examples, "seed": self.seed, "epoch": epoch, "batch": done}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where a `state_dict` was taken: the next epoch of `fit` begins at its batch.

        Raises:
            ValueError: If it is from other data or no such state.
        """
        kind = type(self).__name__
        if set(state) | {"batch"} != {"examples", "seed", "epoch", "batch"}:
            raise ValueError(
                f"state must be what {kind}.state_dict() returned, with examples, seed, epoch and "
                f"batch; it has: {', '.join(map(str, state)) or 'nothing'}."
            )
        if state["examples"] != self.examples:
            raise ValueError(
                f"state is of a {kind} of {state['examples']} examples, this one has "
                f"{self.examples}: their orders have nothing in common. Use the same data."
            )
        batch = checks.whole_number("batch", state.get("batch", 0), least=0)
        if batch >= len(self):
            raise ValueError(
                f"state is at batch {batch}, an epoch of this {kind} has {len(self)}: use the same "
                "batch_size."
            )
        self.seed = checks.whole_number("seed", state["seed"], least=0)
        self.epoch = state["epoch"]
        self._done = batch

    @property
    def num_batches(self) -> int:
        """Number of batches of one pass over the data."""
        return len(self)

    def one_pass(self, first: int = 0) -> Iterator[tuple[Any, ...]]:
        """Yield the batches of the pass that has begun, from number `first` on."""
        raise NotImplementedError

    def begin_pass(self, training: bool) -> None:
        """Set the order of the pass that begins; `training` is False for evaluate and predict."""
        raise NotImplementedError

    def on_epoch_begin(self) -> None:
        """Called by Keras before each epoch of fit, and before evaluate and predict."""
        method, arguments = running_method()
        _refuse_ignored_arguments(method, arguments)
        _check_devices(type(self).__name__, self.batch_size, self.rows)
        training = method in ("fit", "other")
        self.begin_pass(training)
        self.first_batch = 0
        if training:
            self.first_batch, self._done = self._done, 0
            _expect_batches(arguments.get("epoch_iterator"), len(self) - self.first_batch)

    def on_epoch_end(self) -> None:
        """Called by Keras after an epoch, but also before the first and not after a broken one."""

    def get_numpy_iterator(self) -> Any:
        """Batches for the NumPy backend."""
        return _PassAdapter(self).get_numpy_iterator()

    def get_jax_iterator(self) -> Any:
        """Batches for the JAX backend."""
        return _PassAdapter(self).get_jax_iterator()

    def get_tf_dataset(self) -> Any:
        """A `tf.data.Dataset` for the TensorFlow backend, which prefetches."""
        return _PassAdapter(self).get_tf_dataset()

    def get_torch_dataloader(self) -> Any:
        """A data loader for the PyTorch backend."""
        return _PassAdapter(self).get_torch_dataloader()


def _expect_batches(epoch_iterator: Any, count: int) -> None:
    """Tell `fit` how many batches this epoch has, so that it does not miss those of a resumed one.

    Where Keras keeps the number elsewhere, it warns that the data ran out, and goes on.
    """
    if getattr(epoch_iterator, "steps_per_epoch", 0) is None:
        epoch_iterator._num_batches = count


def _check_devices(kind: str, batch_size: int, rows: int) -> None:
    """Raise ValueError if the devices of a `keras.distribution` cannot share a batch on JAX."""
    distribution = keras.distribution.distribution()
    if keras.backend.backend() != "jax" or distribution is None:
        return
    devices = int(getattr(distribution, "num_model_replicas", 1))
    for size in (min(batch_size, rows), rows % batch_size):
        if size % devices:
            raise ValueError(
                f"Each batch must be shared evenly by the {devices} devices of keras.distribution. "
                f"This {kind} has {rows} rows in batches of {batch_size}, one of {size}: take a "
                f"batch_size that is a multiple of {devices}, and as many rows, or leave the "
                "smaller last batch out by kd.data.pipeline(..., drop_remainder=True)."
            )


def _refuse_ignored_arguments(method: str, arguments: Mapping[str, Any]) -> None:
    """Raise for arguments that Keras drops in silence when data brings its own adapter."""
    if method not in ("fit", "evaluate"):
        return
    for name in ("y", "sample_weight", "class_weight"):
        if arguments.get(name) is not None:
            raise ValueError(
                f"{method}() got {name}= beside a keras_dlcourse.data pipeline, which brings its "
                f"own; make it with keras_dlcourse.data.pipeline(x, y, ..., {name}=...) instead."
                if name != "y"
                else f"{method}() got y= beside a keras_dlcourse.data pipeline, which brings its "
                "own labels; leave y away."
            )
    if method == "fit" and not IS_ADAPTER and arguments.get("shuffle"):
        warnings.warn(
            "This version of Keras shuffles the batches of a pipeline again, with Python's global "
            "random numbers: pass fit(..., shuffle=False) to keep the pipeline's own order.",
            stacklevel=2,
        )
