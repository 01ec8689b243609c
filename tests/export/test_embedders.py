"""Embedding models as files: what they say of themselves, and that the vectors are Keras's."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from small_models import CLASSES, images, randomise

import keras_dlcourse as kd
from keras_dlcourse.edge import ImageEmbedder, ModelFile

DIMENSIONS = 24
LEAST = {"float32": 0.999, "int8": 0.98}


def embedder(normalize: bool = True) -> keras.Model:
    layers = keras.layers
    x = inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(12, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    backbone = keras.Model(inputs, x, name="backbone")
    return randomise(kd.models.embedding_model(backbone, DIMENSIONS, normalize, name="small"))


@pytest.fixture(scope="module")
def model():
    return embedder()


@pytest.fixture(scope="module")
def clothes(normalization):
    """Of another number of classes than the vectors have numbers, as in metric learning."""
    return kd.data.pipeline(
        images(), np.arange(120) % 4, normalization=normalization, class_names=CLASSES
    )


@pytest.fixture(scope="module")
def embedders(tmp_path_factory, model, clothes):
    folder = tmp_path_factory.mktemp("embedders")
    return {
        name: kd.export.to_tflite(
            model, folder / f"{name}.tflite", quantization=name, calibration=clothes
        )
        for name in LEAST
    }


def cosines(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    ours, theirs = ours.astype("float64"), theirs.astype("float64")
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return (ours * theirs).sum(1) / norms


@pytest.mark.parametrize("quantization", LEAST)
def test_the_vectors_are_keras(embedders, model, normalization, quantization):
    pixels = images(60, seed=3)
    expected = model.predict(normalization(pixels), verbose=0)
    assert np.median(np.tril(expected @ expected.T, -1)) < 0.9, "the images are not told apart"
    vectors = ImageEmbedder(embedders[quantization].path).embed_many(pixels)
    assert cosines(expected, vectors).min() >= LEAST[quantization]
    if quantization == "float32":
        np.testing.assert_allclose(vectors, expected, atol=1e-5)


@pytest.mark.parametrize("quantization", LEAST)
def test_what_the_file_says(embedders, normalization, quantization):
    result = embedders[quantization]
    file = ModelFile.read(result.path)
    assert file.metadata.outputs == ("embedding",)
    assert file.metadata.labels is None and result.labels is None
    assert file.metadata.normalization.mean == pytest.approx(normalization.mean)
    assert file.sizes["files"] == 0
    assert [op.name for op in file.operators].count("L2_NORMALIZATION") == 1
    assert result.float_islands == ()
    if quantization == "int8":
        assert (file.inputs[0].dtype, file.outputs[0].dtype) == ("uint8", "uint8")
        assert file.outputs[0].scales == (1 / 128,)


def test_generated_reader(embedders):
    schema = pytest.importorskip("mediapipe.tasks.metadata.metadata_schema_py_generated")
    content = ModelFile.read(embedders["int8"].path).metadata.extra["TFLITE_METADATA"]
    metadata = schema.ModelMetadataT.InitFromObj(schema.ModelMetadata.GetRootAs(content, 0))
    (graph,) = metadata.subgraphMetadata
    (image,), (vector,) = graph.inputTensorMetadata, graph.outputTensorMetadata
    assert image.description == b"An image."
    assert image.processUnits[0].optionsType == schema.ProcessUnitOptions.NormalizationOptions
    assert vector.name == b"embedding"
    assert vector.content.contentPropertiesType == schema.ContentProperties.FeatureProperties
    assert not vector.associatedFiles


@pytest.mark.parametrize("quantization", LEAST)
def test_mediapipe_gives_the_same_vector(embedders, quantization):
    path = embedders[quantization].path
    try:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.ImageEmbedderOptions(BaseOptions(model_asset_buffer=path.read_bytes()))
        theirs = vision.ImageEmbedder.create_from_options(options)
    except (ImportError, OSError) as error:
        pytest.skip(f"MediaPipe needs libgles2, libegl1 and libgl1: {error}")
    ours = ImageEmbedder(path)
    pixels = images(8, seed=4)
    step = 1e-5 if quantization == "float32" else 1 / 128 + 1e-6
    found = []
    with theirs:
        for one in pixels:
            picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=one)
            (embedding,) = theirs.embed(picture).embeddings
            assert embedding.head_name == "embedding"
            np.testing.assert_allclose(embedding.embedding, ours.embed(one), atol=step)
            found.append(embedding)
    expected = vision.ImageEmbedder.cosine_similarity(found[0], found[1])
    vectors = ours.embed_many(pixels[:2])
    assert ImageEmbedder.cosine_similarity(*vectors) == pytest.approx(expected, abs=1e-3)


def test_l2_normalize_is_mediapipes(tmp_path, clothes):
    """For a file that does not end in L2_NORMALIZATION."""
    path = kd.export.to_tflite(embedder(False), tmp_path / "m.tflite", calibration=clothes).path
    assert ModelFile.read(path).metadata.outputs == ("embedding",)
    pixels = images(3, seed=5)
    plain, unit = ImageEmbedder(path), ImageEmbedder(path, l2_normalize=True)
    expected = plain.embed_many(pixels).astype("float64")
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(unit.embed_many(pixels), expected, atol=1e-6)
    try:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.ImageEmbedderOptions(
            BaseOptions(model_asset_buffer=path.read_bytes()), l2_normalize=True
        )
        theirs = vision.ImageEmbedder.create_from_options(options)
    except (ImportError, OSError) as error:
        pytest.skip(f"MediaPipe needs libgles2, libegl1 and libgl1: {error}")
    with theirs:
        picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels[0])
        vector = theirs.embed(picture).embeddings[0].embedding
    np.testing.assert_allclose(vector, unit.embed(pixels[0]), atol=1e-5)


def test_quantization_aware(tmp_path, model, normalization):
    """Trained with the rounding of the device, the vectors are within a few steps of Keras."""
    aware = kd.quantize.quantization_aware(model)
    kd.quantize.calibrate(aware, normalization(images()))
    path = kd.export.to_tflite(aware, tmp_path / "m.tflite", preprocessing=normalization).path
    assert ModelFile.read(path).metadata.outputs == ("embedding",)
    pixels = images(60, seed=3)
    expected = aware.predict(normalization(pixels), verbose=0)
    assert cosines(expected, ImageEmbedder(path).embed_many(pixels)).min() >= LEAST["int8"]


def test_a_nested_model_that_ends_in_unit_normalization(tmp_path, normalization):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Dense(6)(keras.layers.Flatten()(inputs))
    inner = keras.Model(inputs, keras.layers.UnitNormalization()(x))
    outer = keras.Sequential([keras.Input((16, 16, 3)), inner])
    path = kd.export.to_tflite(outer, tmp_path / "m.tflite", preprocessing=normalization).path
    assert ModelFile.read(path).metadata.outputs == ("embedding",)


def test_labels_that_are_given_make_a_classifier(tmp_path, model, clothes):
    labels = [f"class {n}" for n in range(DIMENSIONS)]
    result = kd.export.to_tflite(model, tmp_path / "m.tflite", calibration=clothes, labels=labels)
    assert ModelFile.read(result.path).metadata.outputs == ("scores",)
    assert result.labels == tuple(labels)
    with pytest.raises(ValueError, match="4 labels, but the model has 24 outputs"):
        kd.export.to_tflite(
            model,
            tmp_path / "n.tflite",
            labels=CLASSES,
            preprocessing=kd.data.Normalization.identity(),
        )


@pytest.mark.parametrize("quantization", LEAST)
def test_verify_reports_the_cosine(embedders, model, clothes, quantization, normalization):
    result = kd.export.verify(model, embedders[quantization], clothes)
    expected = model.predict(normalization(clothes.x), verbose=0)
    vectors = ImageEmbedder(embedders[quantization].path).embed_many(clothes.x)
    between = cosines(expected, vectors)
    assert result.min_cosine == pytest.approx(between.min(), abs=1e-6)
    assert result.mean_cosine == pytest.approx(between.mean(), abs=1e-6)
    assert (result.agreement, result.accuracy, result.keras_accuracy) == (None, None, None)
    assert "smallest cosine" in str(result) and "top class" not in str(result)
    assert "accuracy" not in str(result)
    assert result.require(min_cosine=LEAST[quantization]) is result
    with pytest.raises(kd.export.VerificationError, match="min_cosine=1.1, measured"):
        result.require(min_cosine=1.1)
    with pytest.raises(ValueError, match="min_agreement cannot be checked"):
        result.require(min_agreement=0.5)


def test_verify_of_a_classifier_has_no_cosine(files, classifier, data):
    result = kd.export.verify(classifier, files["float32"], data, limit=3)
    assert result.min_cosine is None and result.mean_cosine is None
    with pytest.raises(ValueError, match="min_cosine cannot be checked"):
        result.require(min_cosine=0.5)


def test_verify_sees_other_vectors(embedders, clothes):
    other = embedder()
    randomise(other, seed=5)
    assert kd.export.verify(other, embedders["float32"], clothes, limit=20).min_cosine < 0.9
