"""The search itself: the fits, the order of the steps, and the results."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_dlcourse._checks import check_integer, check_one_of
from keras_dlcourse._durations import format_duration
from keras_dlcourse._progress import track
from keras_dlcourse.report import draw_selection, png_bytes
from keras_dlcourse.training.narration import Narrator
from keras_dlcourse.training.search import cost, finished, parts
from keras_dlcourse.training.search.finished import Finished
from keras_dlcourse.training.search.one_fit import Recipe, Task, measure
from keras_dlcourse.training.search.selection import Selection
from keras_dlcourse.training.search.splits import Split, make_splits
from keras_dlcourse.training.search.weight_decay import Decay
from keras_dlcourse.training.search.workers import count_workers, run_tasks

Say = Callable[[str], None]

_OURS = ("x", "y", "sample_weight", "validation_data", "validation_split")


def check_build(build: Any) -> None:
    """Raise TypeError if `build` is not a function."""
    if not callable(build):
        raise TypeError(f"build must be a function that returns a model. Received: {build!r}")


def prepare(
    build: Callable[[Any], keras.Model],
    data: Any,
    values: Sequence[Any],
    k: Any,
    fit: Any,
    monitor: str,
    mode: str,
    groups: Any,
    seed: int,
    say: Say | None,
    decay: Decay | None = None,
) -> Search:
    """Check the arguments, and return the search; see `select`."""
    check_build(build)
    check_one_of("mode", mode, ("auto", "min", "max"))
    values, data = tuple(values), parts.convert_lists(data)
    if not values:
        raise ValueError("values must not be empty.")
    return Search(
        Recipe.capture(build, _check_fit(fit), decay),
        data,
        values,
        make_splits(data, k, groups, check_integer("seed", seed, least=0)),
        monitor,
        mode,
        seed,
        Narrator() if say is None else say,
    )


@dataclass(frozen=True)
class Search:
    """Everything that determines the result of a search."""

    recipe: Recipe
    data: Any
    values: tuple[Any, ...]
    splits: list[Split]
    monitor: str
    mode: str
    seed: int
    say: Say

    def run(self, refit: bool, test: Any, folder: Any, n_jobs: int | None) -> Selection:
        """Do the remaining fits, choose, fit on all the data, and test; see `select`."""
        if test is not None:
            test = parts.convert_lists(test)
            parts.check_data("test", test)
            if not refit:
                raise ValueError("test evaluates the refit model. Pass refit=True with it.")
        kept = Finished(folder, {} if folder is None else self._description())
        try:
            used = _check_test(kept, test)
            fits = self._run_fits(kept, refit, n_jobs)
            scores = self._table(fits, "validation")
            number = self._find_best(scores, fits)
            training = self._table(fits, "training")
            model = self._refit(kept, self.values[number]) if refit else None
            if model is not None and test is not None:
                used = measure(model, test) if used is None else used
            found = Selection(
                self.values[number],
                self.monitor,
                self.values,
                scores,
                training,
                model,
                used,
                round(sum(fit["seconds"] for row in fits for fit in row), 1),
            )
            self._keep(kept, found, number, test)
            return found
        finally:
            kept.close()

    def _tasks(self) -> list[list[Task]]:
        return [
            [
                Task(number, fold, value, *split, seed=self.seed + fold)
                for fold, split in enumerate(self.splits)
            ]
            for number, value in enumerate(self.values)
        ]

    def _run_fits(self, kept: Finished, refit: bool, n_jobs: int | None) -> Any:
        """Return the result of each fit: a list of folds for each value."""
        tasks = self._tasks()
        fits: list[list[Any]] = [[kept.read(task) for task in row] for row in tasks]
        left = [
            task
            for row, found in zip(tasks, fits, strict=True)
            for task, one in zip(row, found, strict=True)
            if one is None
        ]
        done = [one["seconds"] for row in fits for one in row if one is not None]
        self._announce(left, done, refit, count_workers(n_jobs, len(left)))
        results = run_tasks(self.recipe, self.data, left, n_jobs)
        for task, found in track(results, len(left), "Fitting"):
            self._check_monitor(found)
            kept.keep(task, found)
            fits[task.value_number][task.fold] = found
        return fits

    def _announce(self, left: list[Task], done: list[float], refit: bool, workers: int) -> None:
        fits = f"{len(left)} fits ({len(self.values)} values x {len(self.splits)} folds"
        fits += f", {len(done)} done before)" if done else ")"
        whole = " and one on all the data" if refit else ""
        side = f", {workers} at a time" if workers > 1 else ""
        seconds = cost.estimate_seconds(self.recipe, self.data, left, done, refit, workers)
        takes = "duration is known after the first"
        if seconds is not None:
            takes = f"about {format_duration(seconds)}"
        self.say(f"{fits}{whole}{side}: {takes}")

    def _check_monitor(self, found: dict[str, Any]) -> None:
        check_one_of("monitor", self.monitor, tuple(found["validation"]))
        if self.mode == "auto" and found["better"][self.monitor] is None:
            raise ValueError(
                f"mode='auto' cannot tell whether higher or lower {self.monitor!r} is better. Pass "
                "mode='max' or mode='min'."
            )

    def _table(self, fits: Any, part: str) -> dict[str, np.ndarray]:
        names = list(fits[0][0][part])
        return {
            name: np.array([[one[part][name] for one in row] for row in fits]) for name in names
        }

    def _find_best(self, scores: dict[str, np.ndarray], fits: Any) -> int:
        """Return the index of the value with the best mean."""
        mode = fits[0][0]["better"][self.monitor] if self.mode == "auto" else self.mode
        means = scores[self.monitor].mean(axis=1) * (1 if mode == "min" else -1)
        if not np.isfinite(means).any():
            raise ValueError(f"{self.monitor} is NaN or infinite for every value: all diverged.")
        return int(np.where(np.isfinite(means), means, math.inf).argmin())

    def _refit(self, kept: Finished, value: Any) -> keras.Model:
        model = self.recipe.build_model(value, self.seed)
        if not kept.load_refit(model):
            if len(self.values) > 1:
                self.say(f"Chosen: {value}; fitting it on all the data")
            whole = np.arange(parts.check_data("data", self.data))
            self.recipe.train(model, parts.part(self.data, whole), value)
            kept.keep_refit(model)
        return model

    def _keep(self, kept: Finished, found: Selection, number: int, test: Any) -> None:
        if kept.path is None:
            return
        before = kept.results()  # once the test part was used, keep its record
        told = {name: table.tolist() for name, table in found.scores.items()}
        training = {name: table.tolist() for name, table in found.training_scores.items()}
        kept.keep_results(
            {
                "value": finished.describe_values((found.value,))[0],
                "monitor": self.monitor,
                "validation": told,
                "training": training,
                "seconds": found.seconds,
                "test": before.get("test") if test is None else found.test,
                "test_sha256": before.get("test_sha256") if test is None else parts.digest(test),
            }
        )
        if len(self.values) > 1:
            tables = (found.training_scores[self.monitor], found.scores[self.monitor])
            figure = draw_selection(self.values, *tables, number, self.monitor)
            kept.keep_picture("selection.png", png_bytes(figure))

    def _description(self) -> dict[str, Any]:
        """Return what distinguishes this search from others."""
        decay = self.recipe.decay
        splits = [index.tolist() for pair in self.splits for index in pair]
        return {
            "values": finished.describe_values(self.values),
            "folds": len(self.splits),
            "splits_sha256": finished.sha256(splits),
            "monitor": self.monitor,
            "seed": self.seed,
            "fit": finished.describe_fit(self.recipe),
            "decay": "none"
            if decay is None
            else f"{decay.kind} of {finished.stabilize(decay.decays)}",
            "model": finished.describe_model(self.recipe.build_model(self.values[0], self.seed)),
            "backend": self.recipe.settings["backend"],
            "data_sha256": parts.digest(self.data),
        }


def _check_test(kept: Finished, test: Any) -> dict[str, float] | None:
    """Return the earlier result on the test part; None if it has not been used."""
    before = kept.results()
    if test is None or not before.get("test"):
        return None
    if before["test_sha256"] != parts.digest(test):
        raise ValueError(
            f"the search in {kept.path} has used another test part already; a second one would "
            "let you choose between two results. Pass a new folder."
        )
    return {name: float(value) for name, value in before["test"].items()}


def _check_fit(fit: Any) -> Any:
    fit = {} if fit is None else fit
    if callable(fit):
        return fit
    if not isinstance(fit, Mapping):
        raise TypeError(
            f"fit must be a dictionary of arguments for Model.fit, or a function. Received: {fit!r}"
        )
    for name in _OURS:
        if name in fit:
            raise ValueError(f"fit must not contain {name!r}, which is set by the folds.")
    if "callbacks" in fit and not callable(fit["callbacks"]):
        raise TypeError(
            "fit['callbacks'] must be a function that returns a list of new callbacks, such as "
            "lambda: [...], because each fit needs its own."
        )
    return fit
