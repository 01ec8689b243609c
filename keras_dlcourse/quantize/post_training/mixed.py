"""The fewest layers that have to stay in float for an integer file to answer as the model does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_dlcourse._progress import track
from keras_dlcourse.graph.flat import Graph, Node
from keras_dlcourse.quantize.diagnosis.diagnosing import diagnose
from keras_dlcourse.quantize.diagnosis.layer import LayerDiagnosis
from keras_dlcourse.quantize.post_training.calibrated_files import write_calibrated
from keras_dlcourse.quantize.qat.planning import Assignment, assigned_rules, flat

EXAMPLES = 100
MATTERS_BEHIND_DB = 6.0


@dataclass(frozen=True)
class Mixed:
    """Layers to leave in float.

    Attributes:
        layers: Their names, as `after_training(keep_float=…)` takes them; empty if none has to.
        agreement: Share of examples with the same top class as the float model.
        tried: How many files were made to find that out.
    """

    layers: tuple[str, ...]
    agreement: float
    tried: int


def fewest_in_float(
    model: keras.Model,
    data: Any,
    agreement: float,
    *,
    calibrator: str = "min_max",
    percentile: float = 99.99,
    examples: int = EXAMPLES,
    most: int = 16,
) -> Mixed:
    """Find the fewest layers to leave in float for an agreement with the float model.

    Greedy: layers are left in float in the order of the harm that `diagnose` finds they do, one
    more at a time until the agreement is reached; then each is tried in integers again, the least
    harmful first, and stays so where the agreement holds. A file is made for each try.

    Args:
        model: A trained float model.
        data: What `fit` takes, normalised as in training: at least 100 examples.
        agreement: The share of examples, from 0 to 1, with the same top class.
        calibrator: As in `after_training`.
        percentile: As in `after_training`.
        examples: How many examples to compare on.
        most: Give up after so many layers.

    Returns:
        A `Mixed`.

    Raises:
        ValueError: If `most` layers are not enough, naming what they reach.

    Example:
        >>> found = fewest_in_float(model, data, agreement=0.98)  # doctest: +SKIP
        >>> after_training(model, "mixed.tflite", data, keep_float=found.layers)  # doctest: +SKIP
    """
    # Names of layers are those of the flat graph, in which each layer has one of its own.
    assignment = assigned_rules(flat(model))
    search = _Search(assignment.graph.model, data, calibrator, percentile, examples)
    reached, order = search.start()
    groups = [_group(assignment, layer) for layer in order]
    groups = [group for group in dict.fromkeys(groups) if group]
    chosen: list[tuple[str, ...]] = []
    steps = track(groups[:most], min(most, len(groups)), "leaving layers in float")
    for group in steps:
        if reached >= agreement:
            break
        chosen.append(group)
        reached = search.agreement(chosen)
    if reached < agreement:
        raise ValueError(
            f"agreement={agreement:g} is not reached with {len(chosen)} layers in float: "
            f"{reached:.3g}. See diagnose(model, file, data) for what is wrong, or raise most="
        )
    return search.thinned(chosen, reached, agreement)


class _Search:
    """Makes files and compares their answers with the float file's."""

    def __init__(
        self, model: keras.Model, data: Any, calibrator: str, percentile: float, examples: int
    ) -> None:
        self.model, self.data, self.examples = model, data, examples
        self.options: dict[str, Any] = {"calibrator": calibrator, "percentile": percentile}
        self.tried = 0

    def start(self) -> tuple[float, list[LayerDiagnosis]]:
        """Return the agreement with all in integers, and the layers, most harmful first."""
        return self._with_file((), lambda found: (found.agreement, list(found.worst)))

    def agreement(self, groups: list[tuple[str, ...]]) -> float:
        """Return the agreement with some layers in float."""
        names = tuple(dict.fromkeys(name for group in groups for name in group))
        return float(self._with_file(names, lambda found: found.agreement))

    def thinned(self, chosen: list[tuple[str, ...]], reached: float, agreement: float) -> Mixed:
        """Put layers back to integers that do not have to be in float."""
        for group in reversed(chosen[:-1]):
            fewer = [other for other in chosen if other is not group]
            found = self.agreement(fewer)
            if found >= agreement:
                chosen, reached = fewer, found
        names = tuple(dict.fromkeys(name for group in chosen for name in group))
        return Mixed(names, reached, self.tried)

    def _with_file(self, keep_float: tuple[str, ...], read: Callable[[Any], Any]) -> Any:
        self.tried += 1
        with tempfile.TemporaryDirectory(prefix="keras_dlcourse-") as folder:
            path = Path(folder) / "tried.tflite"
            write_calibrated(self.model, path, self.data, keep_float=keep_float, **self.options)
            return read(diagnose(self.model, path, self.data, self.examples))


def _group(assignment: Assignment, layer: LayerDiagnosis) -> tuple[str, ...]:
    """Return the layers to leave in float together so that one layer's error does not arise.

    Those are the layer, what is fused with it, and, if its error matters only to those who read
    it, them as well: else the numbers between would be rounded all the same.
    """
    graph = assignment.graph
    node = next((node for node in graph.nodes if node.name == layer.name), None)
    if node is None:
        return ()
    nodes = _fused(assignment, node)
    alone, own = layer.alone_db, layer.own_sqnr_db
    if alone is not None and (own is None or alone < own - MATTERS_BEHIND_DB):
        for reader in _readers(graph, nodes[-1]):
            nodes += _fused(assignment, reader)
    return tuple(dict.fromkeys(node.name for node in nodes))


def _fused(assignment: Assignment, node: Node) -> list[Node]:
    """Return the nodes that one kernel computes, the last one at the end."""
    end = assignment.ends.get(id(node), node)
    return [n for n in assignment.graph.nodes if assignment.ends.get(id(n)) is end] + [end]


def _readers(graph: Graph, node: Node) -> list[Node]:
    return [reader for output in node.outputs for reader in graph.users(output)]
