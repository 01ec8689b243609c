"""What a kind of input is: how it is recognized, stored and described."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.edge.tflite.graph import Tensor
from keras_dlcourse.export.writing.flatbuffer_writer import Table
from keras_dlcourse.export.writing.input import Input


@dataclass(frozen=True)
class ModelInput:
    """An input of a Keras model, as kinds see it to recognize their own.

    Attributes:
        shape: Its shape, without the batch.
        dtype: Its data type in Keras.
        normalization: The normalization applied to pixels, if there is one.
    """

    shape: tuple[int, ...]
    dtype: str
    normalization: Normalization | None


@dataclass(frozen=True)
class Kind:
    """A kind of input: one row of `KINDS`.

    Attributes:
        recognize: Whether an input of a model is of this kind.
        describe: Returns the standard TFLite metadata of an input, given its tensor in the file.
        dtype: Data type in the graph that is converted. Files keep `"int32"`; they store
            `"float32"` as their quantization scheme does.
    """

    recognize: Callable[[ModelInput], bool]
    describe: Callable[[Input, Tensor], Table]
    dtype: str = "float32"
