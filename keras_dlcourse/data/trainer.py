"""Everything that a pipeline needs to know about Keras's trainers.

With `Model.fit(shuffle=True)`, the default, Keras shuffles the batches of a `PyDataset` with
Python's global `random`, and the `PyDataset` can neither see nor undo it. Keras also accepts a data
adapter directly (`keras.src.trainers.data_adapters.get_data_adapter`), and then only asks it for
batches. `TrainerData` is both: an adapter, to control the order, and a `PyDataset`, so that code
that supports `PyDataset` supports it too. Keras does not tell adapters which method is running, so
`find_running_method` inspects the call stack, once per epoch.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from keras_dlcourse._checks import check_integer

try:  # Private API: if a Keras version moves it, we fall back to a PyDataset and warn in fit.
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
    # Keras looks at one batch to build the model, which is not an epoch of training.
    "_symbolic_build": "build",
    "_maybe_symbolic_build": "build",
}


def find_running_method() -> tuple[str, Mapping[str, Any]]:
    """Return which method of a Keras model is requesting batches, and its arguments.

    Returns:
        One of `"fit"`, `"evaluate"`, `"predict"`, `"build"`, or `"other"` outside of these; and the
        local variables of that method, including its arguments.
    """
    frame = sys._getframe(1)
    while frame is not None:
        method = _METHODS.get(frame.f_code.co_name)
        if method and frame.f_globals.get("__name__", "").startswith("keras.src."):
            return method, frame.f_locals
        frame = frame.f_back  # type: ignore[assignment]
    return "other", {}


class _PassAdapter(PyDatasetAdapter):
    """Keras's adapter for a `PyDataset`, changed to take batches from `one_pass` in its order."""

    def _get_iterator(self) -> Iterator[tuple[Any, ...]]:
        # Runs when the first batch is requested: Keras creates an unused iterator after each epoch.
        yield from self.py_dataset.one_pass(self.py_dataset.first_batch)


class TrainerData(*_BASES):  # type: ignore[misc]
    """Base class of data that controls the order in which `fit` sees it.

    The order is a function of `seed` and the epoch number only. Subclasses implement `examples`,
    `__len__`, `__getitem__` and `one_pass`, and set their order in `begin_pass`.

    Args:
        seed: Seed of the order, 0 or more.

    Attributes:
        first_batch: Number of the first batch of the current pass; 0 unless it resumes within an
            epoch.
    """

    batch_size: int = 0  # a plain attribute here, but a property of the adapter

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = check_integer("seed", seed, least=0)
        self.epoch = 0
        self._done = 0  # batches to skip in the next training pass
        self.first_batch = 0

    @property
    def examples(self) -> int:
        """Number of images."""
        raise NotImplementedError

    @property
    def rows(self) -> int:
        """Number of rows in all batches of one pass."""
        return self.examples

    @property
    def epoch(self) -> int:
        """Number of the next epoch of `fit`."""
        return self._epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._epoch = check_integer("epoch", value, least=0)

    def state_dict(self, batch: int | None = None) -> dict[str, int]:
        """Return the state that determines the order from here on, to save with a checkpoint.

        Args:
            batch: Number of completed batches within an epoch of `fit`. It must be passed, because
                data is read ahead of the training. None between epochs.
        """
        done = 0 if batch is None else check_integer("batch", batch, least=0)
        epoch = self.epoch - (batch is not None)
        return {"examples": self.examples, "seed": self.seed, "epoch": epoch, "batch": done}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Resume where a `state_dict` was taken: the next epoch of `fit` starts at its batch.

        Raises:
            ValueError: If `state` is from other data or not such a state.
        """
        kind = type(self).__name__
        if set(state) | {"batch"} != {"examples", "seed", "epoch", "batch"}:
            raise ValueError(
                f"state must come from {kind}.state_dict(), with examples, seed, epoch and batch. "
                f"Received: {', '.join(map(str, state)) or 'nothing'}"
            )
        if state["examples"] != self.examples:
            raise ValueError(
                f"state comes from a {kind} with {state['examples']} examples, but this one has "
                f"{self.examples}, so the order cannot be restored. Use the same data."
            )
        batch = check_integer("batch", state.get("batch", 0), least=0)
        if batch >= len(self):
            raise ValueError(
                f"state is at batch {batch}, but an epoch of this {kind} has {len(self)} batches. "
                "Use the same batch_size."
            )
        self.seed = check_integer("seed", state["seed"], least=0)
        self.epoch = state["epoch"]
        self._done = batch

    @property
    def num_batches(self) -> int:
        """Number of batches of one pass over the data."""
        return len(self)

    def one_pass(self, first: int = 0) -> Iterator[tuple[Any, ...]]:
        """Yield the batches of the current pass, starting with number `first`."""
        raise NotImplementedError

    def begin_pass(self, training: bool) -> None:
        """Set the order of a new pass. `training` is False for evaluate and predict."""
        raise NotImplementedError

    def on_epoch_begin(self) -> None:
        """Called by Keras before each epoch of fit, and before evaluate and predict."""
        method, arguments = find_running_method()
        _refuse_ignored_arguments(method, arguments)
        _check_devices(type(self).__name__, self.batch_size, self.rows)
        training = method in ("fit", "other")
        self.begin_pass(training)
        self.first_batch = 0
        if training:
            self.first_batch, self._done = self._done, 0
            _expect_batches(arguments.get("epoch_iterator"), len(self) - self.first_batch)

    def on_epoch_end(self) -> None:
        """Called by Keras after each epoch, also before the first, not after an interrupted one."""

    def get_numpy_iterator(self) -> Any:
        """Return batches for the NumPy backend."""
        return _PassAdapter(self).get_numpy_iterator()

    def get_jax_iterator(self) -> Any:
        """Return batches for the JAX backend."""
        return _PassAdapter(self).get_jax_iterator()

    def get_tf_dataset(self) -> Any:
        """Return a `tf.data.Dataset` for the TensorFlow backend, which prefetches."""
        return _PassAdapter(self).get_tf_dataset()

    def get_torch_dataloader(self) -> Any:
        """Return a data loader for the PyTorch backend."""
        return _PassAdapter(self).get_torch_dataloader()


def _expect_batches(epoch_iterator: Any, count: int) -> None:
    """Tell `fit` the number of batches of this epoch, which is smaller for a resumed one.

    If a Keras version stores the number elsewhere, it warns that the data ran out, and continues.
    """
    if getattr(epoch_iterator, "steps_per_epoch", 0) is None:
        epoch_iterator._num_batches = count


def _check_devices(kind: str, batch_size: int, rows: int) -> None:
    """Raise ValueError if a batch cannot be divided among the devices of a distribution on JAX."""
    distribution = keras.distribution.distribution()
    if keras.backend.backend() != "jax" or distribution is None:
        return
    devices = int(getattr(distribution, "num_model_replicas", 1))
    for size in (min(batch_size, rows), rows % batch_size):
        if size % devices:
            raise ValueError(
                f"Each batch must be shared evenly by the {devices} devices of keras.distribution. "
                f"This {kind} has {rows} rows in batches of {batch_size}, one of {size}. Use a "
                f"batch_size and a number of rows that are multiples of {devices}, or drop the "
                "smaller last batch with kd.data.pipeline(..., drop_remainder=True)."
            )


def _refuse_ignored_arguments(method: str, arguments: Mapping[str, Any]) -> None:
    """Raise ValueError for arguments that Keras silently ignores when given an adapter."""
    if method not in ("fit", "evaluate"):
        return
    for name in ("y", "sample_weight", "class_weight"):
        if arguments.get(name) is not None:
            raise ValueError(
                f"{method}() got {name}= in addition to a keras_dlcourse.data pipeline. Pass it to "
                f"keras_dlcourse.data.pipeline(x, y, ..., {name}=...) instead."
                if name != "y"
                else f"{method}() got y= in addition to a keras_dlcourse.data pipeline, which "
                "contains the labels. Omit y."
            )
    if method == "fit" and not IS_ADAPTER and arguments.get("shuffle"):
        warnings.warn(
            "This version of Keras reshuffles the batches of a pipeline with Python's global "
            "random number generator. Pass fit(..., shuffle=False) to keep the pipeline's order.",
            stacklevel=2,
        )
