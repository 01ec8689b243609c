"""Other people's readers understand our files: MediaPipe's schema, and MediaPipe Tasks itself."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from small_models import CLASSES, images, small_classifier

import keras_dlcourse as kd
from keras_dlcourse.edge.tflite.model_file import ModelFile

schema = pytest.importorskip("mediapipe.tasks.metadata.metadata_schema_py_generated")


def standard_metadata(path):
    """Parse our buffer with MediaPipe's generated code."""
    content = ModelFile.read(path).metadata.extra["TFLITE_METADATA"]
    assert schema.ModelMetadata.ModelMetadataBufferHasIdentifier(content, 0)
    return schema.ModelMetadataT.InitFromObj(schema.ModelMetadata.GetRootAs(content, 0))


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_generated_reader(files, quantization):
    metadata = standard_metadata(files[quantization].path)
    assert metadata.name == b"small"
    assert metadata.minParserVersion == b"1.0.0"
    (graph,) = metadata.subgraphMetadata
    (image,), (scores,) = graph.inputTensorMetadata, graph.outputTensorMetadata
    assert image.content.contentPropertiesType == schema.ContentProperties.ImageProperties
    properties = image.content.contentProperties
    assert properties.colorSpace == schema.ColorSpaceType.RGB
    assert (properties.defaultSize.width, properties.defaultSize.height) == (16, 16)
    (unit,) = image.processUnits
    assert unit.optionsType == schema.ProcessUnitOptions.NormalizationOptions
    np.testing.assert_allclose(unit.options.mean, [110], rtol=1e-6)
    np.testing.assert_allclose(unit.options.std, [70], rtol=1e-6)
    np.testing.assert_allclose(image.stats.min, [-110 / 70], rtol=1e-6)
    np.testing.assert_allclose(image.stats.max, [145 / 70], rtol=1e-6)
    assert scores.content.contentPropertiesType == schema.ContentProperties.FeatureProperties
    (labels,) = scores.associatedFiles
    assert labels.name == b"labels.txt"
    assert labels.type == schema.AssociatedFileType.TENSOR_AXIS_LABELS
    with zipfile.ZipFile(files[quantization].path) as archive:
        assert archive.read("labels.txt").decode().split() == list(CLASSES)


def test_three_equal_means_are_one(tmp_path, classifier):
    """MediaPipe refuses float models with three means."""
    path = kd.export.to_tflite(
        classifier, tmp_path / "m.tflite", preprocessing=kd.data.Normalization([9.0] * 3, [8.0] * 3)
    ).path
    (unit,) = standard_metadata(path).subgraphMetadata[0].inputTensorMetadata[0].processUnits
    assert (list(unit.options.mean), list(unit.options.std)) == ([9.0], [8.0])


def test_repacking_keeps_the_model(files, classifier, normalization):
    """What was converted is what stands in the file: same tensors, same weights."""
    file = ModelFile.read(files["float32"].path)
    kernel = next(t for t in file.tensors if t.is_constant and t.shape == (8, 3, 3, 3))
    ours = np.frombuffer(kernel.data, "<f4").reshape(8, 3, 3, 3)
    convolution, norm = classifier.layers[1], classifier.layers[2]
    gain = norm.gamma.numpy() / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
    expected = (convolution.kernel.numpy() * gain).transpose(3, 0, 1, 2)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


class TestMediaPipeTasks:
    @pytest.fixture
    def vision(self):
        try:
            import mediapipe
            from mediapipe.tasks.python import vision

            mediapipe.Image  # noqa: B018
        except (ImportError, OSError) as error:
            pytest.skip(f"MediaPipe needs libgles2, libegl1 and libgl1: {error}")
        return vision

    def classify(self, vision, path, pixels):
        import mediapipe
        from mediapipe.tasks.python import BaseOptions

        options = vision.ImageClassifierOptions(
            base_options=BaseOptions(model_asset_buffer=path.read_bytes())
        )
        try:
            classifier = vision.ImageClassifier.create_from_options(options)
        except OSError as error:
            pytest.skip(f"MediaPipe needs libgles2, libegl1 and libgl1: {error}")
        with classifier:
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
            categories = classifier.classify(image).classifications[0].categories
        return {category.category_name: category.score for category in categories}

    @pytest.mark.parametrize("quantization", ["float32", "int8"])
    def test_same_labels_and_scores(self, vision, files, classifier, normalization, quantization):
        path = files[quantization].path
        ours = kd.edge.ImageClassifier(path)
        for pixels in images(5, seed=4):
            theirs = self.classify(vision, path, pixels)
            assert set(theirs) == set(CLASSES)
            for category in ours.classify(pixels):
                assert theirs[category.label] == pytest.approx(category.score, abs=1 / 255)
        scores = classifier.predict(normalization(pixels[None]), verbose=0)[0]
        tolerance = 1e-5 if quantization == "float32" else 0.08
        np.testing.assert_allclose([theirs[name] for name in CLASSES], scores, atol=tolerance)

    @pytest.mark.parametrize("quantization", ["float32", "int8"])
    def test_grey_network_behind_rgb(self, vision, tmp_path, normalization, quantization):
        model = small_classifier(channels=1)
        data = kd.data.pipeline(images(channels=1), np.zeros(120, int), normalization=normalization)
        path = kd.export.to_tflite(
            model, tmp_path / "m.tflite", quantization=quantization, calibration=data,
            preprocessing=normalization, labels=CLASSES,
        ).path  # fmt: skip
        pixels = images(1, seed=4)[0]
        theirs = self.classify(vision, path, pixels)
        for category in kd.edge.ImageClassifier(path).classify(pixels):
            assert theirs[category.label] == pytest.approx(category.score, abs=1 / 255)

    def test_normalization_per_channel(self, vision, tmp_path, classifier):
        normalization = kd.data.Normalization((120.0, 90.0, 60.5), (50.0, 60.0, 70.0))
        path = kd.export.to_tflite(
            classifier, tmp_path / "m.tflite", preprocessing=normalization, labels=CLASSES
        ).path
        pixels = images(1, seed=4)[0]
        theirs = self.classify(vision, path, pixels)
        scores = classifier.predict(normalization(pixels[None]), verbose=0)[0]
        np.testing.assert_allclose([theirs[name] for name in CLASSES], scores, atol=1e-4)
