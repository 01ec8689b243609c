"""Tiny `.tflite` files of the plain converter, and an independent writer of their metadata."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

LABELS = ("shirt", "coat", "dress", "bag", "boot")
MEAN, STD = 73.0, 90.0


@dataclass(frozen=True)
class Network:
    """A small convolutional network with fixed weights, computed by TensorFlow.

    It ends in `"softmax"` over five classes, or in five numbers of `"unit"` length; or, at each
    position of half the size, in a `"mask"` of five confidences or in their `"logits"`.
    """

    size: tuple[int, int] = (12, 10)
    channels: int = 3
    gain: float = 2.0
    head: str = "softmax"

    def function(self) -> Callable[[Any], Any]:
        import tensorflow as tf

        rng = np.random.default_rng(3)
        kernel = rng.normal(0, 0.6, (3, 3, self.channels, 6)).astype("float32")
        dense = rng.normal(0, 1, (6, 5)).astype("float32")

        def features(x: Any) -> Any:
            x = tf.nn.relu(tf.nn.conv2d(x, kernel, 2, "SAME"))
            if self.head in ("mask", "logits"):
                return tf.nn.conv2d(x, dense[None, None], 1, "SAME")
            return tf.matmul(tf.reduce_mean(x, [1, 2]), dense)

        # Centred and scaled, so that every class comes up: a constant answer would prove nothing.
        raw = features(normalized(self.images(200, seed=1))).numpy()
        others = tuple(range(raw.ndim - 1))
        centre, scale = raw.mean(others), self.gain / raw.std(others)
        end = tf.math.l2_normalize if self.head == "unit" else tf.nn.softmax

        def call(x: Any) -> Any:
            logits = (features(x) - centre) * scale
            return logits if self.head == "logits" else end(logits, axis=-1)

        return call

    def images(self, count: int, seed: int = 0) -> np.ndarray:
        """Return images with large structure, so that the classes differ."""
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (count, 3, 2, self.channels))
        noise = rng.integers(-20, 21, (count, *self.size, self.channels))
        blocks = coarse.repeat(self.size[0] // 3, 1).repeat(self.size[1] // 2, 2)
        return np.clip(blocks + noise, 0, 255).astype("uint8")

    def scores(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self.function()(normalized(images)))

    def convert(self, io_type: str = "float32", batch: int | None = 1) -> bytes:
        import tensorflow as tf

        shape = (batch, *self.size, self.channels)
        function = tf.function(self.function(), input_signature=[tf.TensorSpec(shape)])
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [function.get_concrete_function()]
        )
        if io_type != "float32":
            images = self.images(100)
            images[0], images[1] = 0, 255  # the whole range: then a step is a grey level
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: (
                [normalized(image[None])] for image in images
            )
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
                if io_type == "int16"
                else tf.lite.OpsSet.TFLITE_BUILTINS_INT8
            ]
            converter.inference_input_type = getattr(tf, io_type)
            converter.inference_output_type = getattr(tf, io_type)
        return converter.convert()


def normalized(images: np.ndarray) -> np.ndarray:
    return ((images - np.float32(MEAN)) / np.float32(STD)).astype("float32")


def metadata_schema() -> ModuleType:
    """Return MediaPipe's generated module without importing MediaPipe."""
    package = importlib.util.find_spec("mediapipe")
    if package is None or package.origin is None:
        pytest.skip("mediapipe is not installed")
    path = Path(package.origin).parent / "tasks/metadata/metadata_schema_py_generated.py"
    spec = importlib.util.spec_from_file_location("metadata_schema_py_generated", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def describe(
    content: bytes,
    *,
    labels: Sequence[str] | None = LABELS,
    mean: Sequence[float] | None = (MEAN,),
    std: Sequence[float] = (STD,),
    calibration: tuple[int, float, str] | None = None,
    threshold: float | None = None,
    label_type: str = "TENSOR_AXIS_LABELS",
    locales: Sequence[str] = (),
    extra: dict[str, bytes] | None = None,
    activation: int | None = None,
) -> bytes:
    """Write standard metadata into a file with the generated classes of both schemas."""
    import flatbuffers

    s = metadata_schema()
    image = s.TensorMetadataT()
    image.name = "image"
    image.content = s.ContentT()
    image.content.contentPropertiesType = s.ContentProperties.ImageProperties
    image.content.contentProperties = s.ImagePropertiesT()
    image.content.contentProperties.colorSpace = s.ColorSpaceType.RGB
    if mean is not None:
        options = s.NormalizationOptionsT()
        options.mean, options.std = list(mean), list(std)
        image.processUnits = [_unit(s, s.ProcessUnitOptions.NormalizationOptions, options)]
    scores = s.TensorMetadataT()
    scores.name = "score"
    scores.content = s.ContentT()
    scores.content.contentPropertiesType = s.ContentProperties.FeatureProperties
    scores.content.contentProperties = s.FeaturePropertiesT()
    scores.associatedFiles, scores.processUnits, files = [], [], {}
    if labels is not None:
        for locale in locales:
            scores.associatedFiles.append(_file(s, f"{locale}.txt", label_type, locale))
            files[f"{locale}.txt"] = "\n".join(f"{locale} {label}" for label in labels)
        scores.associatedFiles.append(_file(s, "labels.txt", label_type))
        files["labels.txt"] = "\n".join(labels) + "\n"
    if calibration is not None:
        options = s.ScoreCalibrationOptionsT()
        options.scoreTransformation, options.defaultScore, files["calibration.txt"] = calibration
        scores.processUnits.append(_unit(s, s.ProcessUnitOptions.ScoreCalibrationOptions, options))
        scores.associatedFiles.append(_file(s, "calibration.txt", "TENSOR_AXIS_SCORE_CALIBRATION"))
    if threshold is not None:
        options = s.ScoreThresholdingOptionsT()
        options.globalScoreThreshold = threshold
        scores.processUnits.append(_unit(s, s.ProcessUnitOptions.ScoreThresholdingOptions, options))
    graph = s.SubGraphMetadataT()
    graph.inputTensorMetadata, graph.outputTensorMetadata = [image], [scores]
    if activation is not None:
        graph.customMetadata = [_segmenter(s, activation)]
    root = s.ModelMetadataT()
    root.name, root.description, root.author = "clothes", "what is worn", "the tests"
    root.subgraphMetadata, root.minParserVersion = [graph], "1.0.0"
    builder = flatbuffers.Builder(0)
    builder.Finish(root.Pack(builder), b"M001")
    return append(
        with_buffers(content, {"TFLITE_METADATA": bytes(builder.Output()), **(extra or {})}), files
    )


def _segmenter(s: ModuleType, activation: int) -> Any:
    import flatbuffers

    builder = flatbuffers.Builder(0)
    builder.StartObject(2)
    builder.PrependInt8Slot(0, activation, 0)
    builder.Finish(builder.EndObject(), b"V001")
    custom = s.CustomMetadataT()
    custom.name, custom.data = "SEGMENTER_METADATA", np.frombuffer(builder.Output(), np.uint8)
    return custom


def _unit(s: ModuleType, kind: int, options: Any) -> Any:
    unit = s.ProcessUnitT()
    unit.optionsType, unit.options = kind, options
    return unit


def _file(s: ModuleType, name: str, kind: str, locale: str | None = None) -> Any:
    file = s.AssociatedFileT()
    file.name, file.type, file.locale = name, getattr(s.AssociatedFileType, kind), locale
    return file


def change(content: bytes, edit: Callable[[Any], None]) -> bytes:
    """Return a file after an edit of its unpacked tables."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    edit(model)
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def with_buffers(content: bytes, named: dict[str, bytes]) -> bytes:
    """Return a file with named buffers added."""
    from ai_edge_litert import schema_py_generated as schema

    def edit(model: Any) -> None:
        for name, value in named.items():
            buffer, entry = schema.BufferT(), schema.MetadataT()
            buffer.data = np.frombuffer(value, np.uint8)
            model.buffers.append(buffer)
            entry.name, entry.buffer = name, len(model.buffers) - 1
            model.metadata = [*(model.metadata or []), entry]

    return change(content, edit)


def append(content: bytes, files: dict[str, str]) -> bytes:
    """Return a file with a zip appended."""
    if not files:
        return content
    with io.BytesIO() as whole:
        whole.write(content)
        with zipfile.ZipFile(whole, "a") as archive:
            for name, text in files.items():
                archive.writestr(zipfile.ZipInfo(name), text)  # without the time
        return whole.getvalue()
