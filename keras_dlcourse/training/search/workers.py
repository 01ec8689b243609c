"""Parallel fits, in processes of this machine or of others."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import joblib
import keras

from keras_dlcourse.training.search.one_fit import Recipe, Task, run_task


def count_workers(n_jobs: int | None, tasks: int) -> int:
    """Return the number of fits at a time.

    Args:
        n_jobs: As in joblib: None for the value set by `joblib.parallel_config`, or else 1; -1 for
            one per core.
        tasks: Number of remaining fits.
    """
    with joblib.Parallel(n_jobs=n_jobs) as parallel:
        return max(1, min(joblib.effective_n_jobs(parallel.n_jobs), tasks))


def run_tasks(
    recipe: Recipe, data: Any, tasks: Sequence[Task], n_jobs: int | None
) -> Iterator[tuple[Task, dict[str, Any]]]:
    """Yield each task with the result of its fit, in order of completion."""
    if count_workers(n_jobs, len(tasks)) == 1:
        for task in tasks:
            yield task, run_task(recipe, data, task)
        return
    with _environment_of_workers(count_workers(n_jobs, len(tasks))):
        parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)
        # All tasks share the data argument, so joblib memory-maps or scatters it only once.
        yield from parallel(joblib.delayed(_run)(recipe, data, task) for task in tasks)


def _run(recipe: Recipe, data: Any, task: Task) -> tuple[Task, dict[str, Any]]:
    return task, run_task(recipe, data, task)


@contextmanager
def _environment_of_workers(workers: int) -> Iterator[None]:
    """Set the environment variables that new worker processes read when they import Keras.

    Each worker gets an equal part of the cores, and allocates GPU memory as needed: otherwise the
    first one would take all of it.
    """
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    wanted = {
        "KERAS_BACKEND": keras.backend.backend(),
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
