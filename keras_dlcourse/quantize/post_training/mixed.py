"""Find the fewest layers to leave in float so that an integer file answers like the model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse._progress import track
from keras_dlcourse.graph.flat import Graph, Node
from keras_dlcourse.quantize.diagnosis.diagnosing import diagnose
from keras_dlcourse.quantize.diagnosis.layer import LayerDiagnosis
from keras_dlcourse.quantize.post_training.calibrated_files import write_calibrated
from keras_dlcourse.quantize.qat.planning import Assignment, assign_rules, flatten

EXAMPLES = 100
MATTERS_BEHIND_DB = 6.0


@dataclass(frozen=True)
class Mixed:
    """Layers to leave in float.

    Attributes:
        layers: Layer names for `after_training(keep_float=…)`; empty if none are needed.
        agreement: Fraction of examples with the same top class as the float model.
        tried: Number of files created in the search.
    """

    layers: tuple[str, ...]
    agreement: float
    tried: int


@renamed_arguments(examples="limit")
def fewest_in_float(
    model: keras.Model,
    data: Any,
    agreement: float,
    *,
    calibrator: str = "min_max",
    percentile: float = 99.99,
    limit: int = EXAMPLES,
    most: int = 16,
) -> Mixed:
    """Find the fewest layers to leave in float to reach a given agreement with the float model.

    This is a greedy search: layers are left in float one by one, in the order of the harm that
    `diagnose` attributes to them, until the agreement is reached. Then each layer, starting with
    the least harmful, is tried in integers again and stays there if the agreement holds. Each
    attempt creates a file.

    Args:
        model: A trained float model.
        data: Same as for `fit`, normalized as in training; at least 100 examples.
        agreement: Fraction of examples, from 0 to 1, that must have the same top class.
        calibrator: As in `after_training`.
        percentile: As in `after_training`.
        limit: Maximum number of examples to compare on.
        most: Maximum number of layers (with their fused layers) to leave in float.

    Returns:
        A `Mixed`.

    Raises:
        ValueError: If `most` layers are not enough; the message gives the agreement they reach.

    Example:
        >>> found = fewest_in_float(model, data, agreement=0.98)  # doctest: +SKIP
        >>> after_training(model, "mixed.tflite", data, keep_float=found.layers)  # doctest: +SKIP
    """
    # Use the layer names of the flat graph, where they are unique.
    assignment = assign_rules(flatten(model))
    search = _Search(assignment.graph.model, data, calibrator, percentile, limit)
    reached, order = search.start()
    groups = [_group(assignment, layer) for layer in order]
    groups = [group for group in dict.fromkeys(groups) if group]
    chosen: list[tuple[str, ...]] = []
    steps = track(groups[:most], min(most, len(groups)), "leaving layers in float")
    for group in steps:
        if reached >= agreement:
            break
        chosen.append(group)
        reached = search.measure_agreement(chosen)
    if reached < agreement:
        raise ValueError(
            f"agreement={agreement:g} is not reached with {len(chosen)} layers in float: it is "
            f"{reached:.3g}. Run diagnose(model, file, data) to find the cause, or increase most."
        )
    return search.thin_out(chosen, reached, agreement)


class _Search:
    """Creates files and compares their outputs with those of the float file."""

    def __init__(
        self, model: keras.Model, data: Any, calibrator: str, percentile: float, limit: int
    ) -> None:
        self.model, self.data, self.limit = model, data, limit
        self.options: dict[str, Any] = {"calibrator": calibrator, "percentile": percentile}
        self.tried = 0

    def start(self) -> tuple[float, list[LayerDiagnosis]]:
        """Return the agreement with all layers in integers, and the layers, most harmful first."""
        return self._try((), lambda found: (found.agreement, list(found.worst)))

    def measure_agreement(self, groups: list[tuple[str, ...]]) -> float:
        """Return the agreement with some layers in float."""
        names = tuple(dict.fromkeys(name for group in groups for name in group))
        return float(self._try(names, lambda found: found.agreement))

    def thin_out(self, chosen: list[tuple[str, ...]], reached: float, agreement: float) -> Mixed:
        """Convert layers back to integers if they do not need to be in float."""
        for group in reversed(chosen[:-1]):
            fewer = [other for other in chosen if other is not group]
            found = self.measure_agreement(fewer)
            if found >= agreement:
                chosen, reached = fewer, found
        names = tuple(dict.fromkeys(name for group in chosen for name in group))
        return Mixed(names, reached, self.tried)

    def _try(self, keep_float: tuple[str, ...], read: Callable[[Any], Any]) -> Any:
        self.tried += 1
        with tempfile.TemporaryDirectory(prefix="keras_dlcourse-") as folder:
            path = Path(folder) / "tried.tflite"
            write_calibrated(self.model, path, self.data, keep_float=keep_float, **self.options)
            return read(diagnose(self.model, path, self.data, self.limit))


def _group(assignment: Assignment, layer: LayerDiagnosis) -> tuple[str, ...]:
    """Return the layers to leave in float together so that one layer's error does not arise.

    These are the layer, the layers fused with it, and, if its error matters only to the layers that
    read it, those as well: otherwise the values in between would still be rounded.
    """
    graph = assignment.graph
    node = next((node for node in graph.nodes if node.name == layer.name), None)
    if node is None:
        return ()
    nodes = _find_fused(assignment, node)
    alone, own = layer.alone_db, layer.own_sqnr_db
    if alone is not None and (own is None or alone < own - MATTERS_BEHIND_DB):
        for reader in _readers(graph, nodes[-1]):
            nodes += _find_fused(assignment, reader)
    return tuple(dict.fromkeys(node.name for node in nodes))


def _find_fused(assignment: Assignment, node: Node) -> list[Node]:
    """Return the nodes that one kernel computes, in order."""
    end = assignment.ends.get(id(node), node)
    return [n for n in assignment.graph.nodes if assignment.ends.get(id(n)) is end] + [end]


def _readers(graph: Graph, node: Node) -> list[Node]:
    return [reader for output in node.outputs for reader in graph.users(output)]
