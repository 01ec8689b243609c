"""An input of a file, as everything along the way to the file describes it."""

from __future__ import annotations

from dataclasses import dataclass

from keras_dlcourse.edge.description.normalization import Normalization


@dataclass(frozen=True)
class Input:
    """An input of a file.

    Attributes:
        name: Its name; empty if the model has only this one.
        kind: Its kind, a key of `KINDS`.
        shape: Its shape in the Keras model, without the batch.
        dtype: Its data type in the graph that is converted, `"float32"` or `"int32"`; of an input
            that was read from a file, that of its tensor.
        normalization: The normalization applied to pixels in training; None for inputs that are not
            images.
        normalization_source: Where the normalization comes from, see `ExportResult`.
        rgb: Whether the file takes color images and converts them to gray inside its graph.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    normalization: Normalization | None = None
    normalization_source: str | None = None
    rgb: bool = False

    @property
    def in_graph(self) -> Normalization | None:
        """The normalization that the graph computes: metadata hold only one for all channels."""
        if self.normalization is None or self.normalization.is_scalar:
            return None
        return self.normalization

    @property
    def before_graph(self) -> Normalization | None:
        """The normalization of the values that the graph takes; None for other than images."""
        if self.normalization is None:
            return None
        return Normalization.identity() if self.in_graph else self.normalization.simplify()
