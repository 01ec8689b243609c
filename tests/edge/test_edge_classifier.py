from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image
from tflite_files import LABELS, MEAN, STD, Network, describe, normalized

from keras_dlcourse.edge import (
    Category,
    ImageClassifier,
    InvalidImage,
    InvalidModel,
    Limits,
    ModelFile,
    Normalization,
)


def by_hand(content: bytes, images: np.ndarray) -> np.ndarray:
    """Return the scores by the bare interpreter, an image at a time."""
    from ai_edge_litert.interpreter import Interpreter

    runtime = Interpreter(model_content=content)
    runtime.allocate_tensors()
    source, target = runtime.get_input_details()[0], runtime.get_output_details()[0]
    rows = []
    for image in images:
        values = (image.astype("float64") - MEAN) / STD
        if source["dtype"] != np.float32:
            scale, zero_point = source["quantization"]
            limits = np.iinfo(source["dtype"])
            values = np.clip(np.round(values / scale) + zero_point, limits.min, limits.max)
        runtime.set_tensor(source["index"], values[None].astype(source["dtype"]))
        runtime.invoke()
        stored = runtime.get_tensor(target["index"])[0].astype("float64")
        scale, zero_point = target["quantization"]
        rows.append((stored - zero_point) * scale if scale else stored)
    return np.array(rows)


@pytest.mark.parametrize("io_type", ["float32", "uint8", "int8", "int16"])
def test_scores_are_the_bare_interpreters(described, network, io_type):
    images = network.images(20, seed=5)
    content = described(io_type)
    scores = ImageClassifier(content).scores(images)
    assert scores.dtype == np.float32
    assert scores.shape == (20, 5)
    np.testing.assert_allclose(scores, by_hand(content, images), atol=1e-6)
    assert len({*scores.argmax(1)}) > 2  # a constant answer would prove nothing
    if io_type == "float32":
        np.testing.assert_allclose(scores, network.scores(images), atol=1e-5)


def test_uint8_file_stores_pixels_as_they_are(described, network):
    classifier = ImageClassifier(described("uint8"))
    images = network.images(2)
    assert classifier._encode(images) is images


@pytest.mark.parametrize("batch", [None, 4])
def test_batches(described, network, batch):
    images = network.images(37, seed=2)
    expected = ImageClassifier(described()).scores(images)
    classifier = ImageClassifier(described(batch=batch))
    for count in (37, 1, 4, 5, 32):
        np.testing.assert_allclose(
            classifier.scores(images[:count]), expected[:count], rtol=1e-5, atol=1e-7
        )


def test_grey_model(described):
    network = Network(channels=1)
    classifier = ImageClassifier(described(channels=1))
    images = network.images(3)
    assert classifier.input_shape == (12, 10, 1)
    np.testing.assert_allclose(classifier.scores(images), network.scores(images), atol=1e-5)
    assert classifier.classify(images[0, ..., 0]) == classifier.classify(images[0])
    colour = images[0].repeat(3, -1)
    assert classifier.classify(colour) == classifier.classify(images[0])


def test_sources_and_sizes(described, network, tmp_path):
    classifier = ImageClassifier(described())
    image = Image.fromarray(network.images(1)[0]).resize((50, 31), Image.Resampling.NEAREST)
    image.save(tmp_path / "a.png")
    small = np.array(image.resize((10, 12), Image.Resampling.BILINEAR))
    expected = classifier.classify(small)
    sources = [tmp_path / "a.png", str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes()]
    for source in [*sources, image, np.array(image)]:
        assert classifier.classify(source) == expected
    assert classifier.classify_batch([image, small]) == [expected, expected]
    cropping = ImageClassifier(described(), crop=True)
    width = 31 * 10 / 12
    box = ((50 - width) / 2, 0, (50 + width) / 2, 31)
    part = np.array(image.resize((10, 12), Image.Resampling.BILINEAR, box=box))
    assert cropping.classify(image) == classifier.classify(part)
    assert cropping.classify(image) != expected


def test_categories(described, network):
    classifier = ImageClassifier(described())
    image = network.images(1)[0]
    scores = network.scores(image[None])[0]
    categories = classifier.classify(image)
    assert [c.index for c in categories] == np.argsort(-scores).tolist()
    assert [c.label for c in categories] == [LABELS[i] for i in np.argsort(-scores)]
    np.testing.assert_allclose([c.score for c in categories], sorted(scores)[::-1], atol=1e-5)
    assert all(type(c) is Category for c in categories)
    assert classifier.classify(image, max_results=2) == categories[:2]
    assert classifier.classify(image, max_results=99) == categories
    assert classifier.classify(image, score_threshold=categories[1].score) == categories[:2]
    assert classifier.classify(image, score_threshold=2.0) == []
    assert classifier.classify(image, 1, categories[1].score) == categories[:1]
    with pytest.raises(AttributeError):
        categories[0].score = 1.0


def test_ties_are_in_the_order_of_the_outputs():
    from keras_dlcourse.edge.vision.classifier import list_categories

    scores = np.array([0.1, 0.4, 0.1, 0.4], "float32")
    assert [c.index for c in list_categories(scores, tuple("abcd"), None, None)] == [1, 3, 0, 2]


def test_plain_files_need_what_they_do_not_say(plain, described, network):
    images = network.images(5)
    with pytest.raises(ValueError, match="float32.*Pass mean= and std="):
        ImageClassifier(plain(), labels=LABELS)
    unnamed = ImageClassifier(plain(), mean=MEAN, std=STD)
    assert unnamed.labels is None
    np.testing.assert_allclose(unnamed.scores(images), network.scores(images), atol=1e-5)
    with pytest.raises(ValueError, match="does not name its 5 classes.*Pass labels="):
        unnamed.classify(images[0])
    named = ImageClassifier(plain(), labels=LABELS, mean=MEAN, std=[STD] * 3)
    expected = ImageClassifier(described()).classify_batch(images)
    assert [c.label for c in named.classify(images[0])] == [c.label for c in expected[0]]
    # An integer input takes pixels as they are where nothing is known.
    pixels = ImageClassifier(plain("uint8"), labels=LABELS)
    assert pixels.classify_batch(images) == ImageClassifier(described("uint8")).classify_batch(
        images
    )


def test_arguments_go_before_metadata(described, network):
    other = ImageClassifier(described(), labels=list("abcde"), mean=0, std=255)
    assert other.labels == tuple("abcde")
    assert other.normalization == Normalization(0, 255)
    images = network.images(3)
    expected = np.asarray(network.function()(images.astype("float32") / 255))
    np.testing.assert_allclose(other.scores(images), expected, atol=1e-5)


def test_normalization_per_channel(plain, network):
    mean, std = (60.0, 70.0, 80.0), (50.0, 60.0, 70.0)
    images = network.images(4)
    values = ((images - np.array(mean)) / std).astype("float32")
    expected = np.asarray(network.function()(values))
    scores = ImageClassifier(describe(plain(), mean=mean, std=std)).scores(images)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"labels": ["a", "b"]}, ValueError, "2 labels given, but .* has 5 outputs"),
        ({"labels": "shirt"}, TypeError, "sequence of names.*which is a single string"),
        ({"mean": 1.0}, ValueError, "mean and std must be passed together"),
        ({"std": 1.0}, ValueError, "mean and std must be passed together"),
        ({"mean": 1.0, "std": 0}, ValueError, "std must be above 0"),
        ({"mean": (1, 2), "std": (1, 2)}, ValueError, "2 channels, but .* takes images with 3"),
        ({"threads": 0}, ValueError, "threads must be an integer of at least 1. Received: 0"),
        ({"threads": 1.5}, TypeError, "threads must be an integer of at least 1. Received: 1.5"),
        ({"threads": True}, TypeError, "threads must be an integer .* Received: True"),
        ({"bits": "12"}, TypeError, "bits must be an integer from 8 to 16. Received: '12'"),
        ({"crop": "no"}, TypeError, "crop must be True or False. Received: 'no'"),
        ({"untrusted": 1}, TypeError, "untrusted must be True, False or Limits. Received: 1"),
    ],
)
def test_bad_arguments(described, arguments, error, message):
    with pytest.raises(error, match=message):
        ImageClassifier(described(), **arguments)


def test_labels_of_another_number_in_the_file(plain):
    with pytest.raises(ValueError, match="2 labels in the file, but .* has 5 outputs"):
        ImageClassifier(describe(plain(), labels=["a", "b"]))


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((12, 10, 3)), TypeError, "uint8 pixels from 0 to 255. Received: float64"),
        (np.full((12, 10, 3), np.nan, "float32"), ValueError, "NaN"),
        (np.zeros((12, 10, 2), "uint8"), ValueError, r"Received: \(12, 10, 2\)"),
        (np.zeros((1, 12, 10, 3), "uint8"), ValueError, r"Received: \(1, 12, 10, 3\)"),
        (np.zeros((0, 10, 3), "uint8"), ValueError, "empty"),
        (b"no image", InvalidImage, "8 bytes is not an image"),
        ("gone.png", FileNotFoundError, "gone.png"),
        (3, TypeError, "Received: int"),
    ],
)
def test_bad_images(described, image, error, message):
    with pytest.raises(error, match=message):
        ImageClassifier(described()).classify(image)


def test_bad_batches_and_limits(described, network):
    classifier = ImageClassifier(described())
    image = network.images(1)[0]
    with pytest.raises(
        ValueError, match=r"shape \(n, height, width, channels\). Received: \(12, 10, 3\)"
    ):
        classifier.scores(image)
    with pytest.raises(TypeError, match="Pass a single image to classify"):
        classifier.classify_batch("a.png")
    with pytest.raises(ValueError, match=r"n, 12, 10, 3\).*Received: \(1, 12, 11, 3\)"):
        classifier.run(np.zeros((1, 12, 11, 3), "uint8"))
    with pytest.raises(ValueError, match=r"Received: \(0, 12, 10, 3\)"):
        classifier.run(np.zeros((0, 12, 10, 3), "uint8"))
    with pytest.raises(TypeError, match="uint8.*Received: float32"):
        classifier.run(np.zeros((1, 12, 10, 3), "float32"))
    for most, error in ((0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)):
        with pytest.raises(error, match="max_results must be an integer of at least 1"):
            classifier.classify(image, max_results=most)
        with pytest.raises(error, match="max_results must be an integer of at least 1"):
            classifier.classify_batch([], max_results=most)  # said before any work
    for least, error in ((float("nan"), ValueError), ("high", TypeError)):
        with pytest.raises(error, match="score_threshold must be a finite number"):
            classifier.classify(image, score_threshold=least)
    assert classifier.classify_batch([]) == []
    assert classifier.scores([]).shape == (0, 5)


def test_not_an_image_classifier():
    import tensorflow as tf

    def convert(shape, call):
        function = tf.function(call, input_signature=[tf.TensorSpec(shape)])
        concrete = [function.get_concrete_function()]
        return tf.lite.TFLiteConverter.from_concrete_functions(concrete).convert()

    with pytest.raises(ValueError, match=r"one input of shape.*\(1, 7\)"):
        ImageClassifier(convert((1, 7), lambda x: x * 2), mean=0, std=1)
    with pytest.raises(ValueError, match=r"has inputs of shape \(1, 4, 4, 2\)"):
        ImageClassifier(convert((1, 4, 4, 2), lambda x: tf.reduce_sum(x, [1, 2])), mean=0, std=1)
    with pytest.raises(ValueError, match=r"one score per class.*returns \(1, 4, 4, 3\)"):
        ImageClassifier(convert((1, 4, 4, 3), lambda x: x * 2), mean=0, std=1)
    with pytest.raises(ValueError, match=r"variable size \(1, -1, -1, 3\)"):
        ImageClassifier(
            convert((1, None, None, 3), lambda x: tf.reduce_sum(x, [1, 2])), mean=0, std=1
        )


@pytest.mark.parametrize("batch", [1, None])
def test_images_without_an_axis_of_channels_are_grey(batch):
    """As of `Input((28, 28))`: the scores are those of the same network on (28, 28, 1)."""
    import tensorflow as tf

    kernel = np.random.default_rng(0).normal(0, 0.1, (80, 3)).astype("float32")

    def convert(shape):
        function = tf.function(
            lambda x: tf.matmul(tf.reshape(x, (-1, 80)), kernel),
            input_signature=[tf.TensorSpec((batch, *shape))],
        )
        concrete = [function.get_concrete_function()]
        return tf.lite.TFLiteConverter.from_concrete_functions(concrete).convert()

    options = {"labels": list("abc"), "mean": MEAN, "std": STD}
    plain = ImageClassifier(convert((10, 8)), **options)
    images = np.random.default_rng(1).integers(0, 256, (5, 10, 8, 1), "uint8")
    expected = normalized(images).reshape(5, 80) @ kernel
    assert plain.input_shape == (10, 8, 1)
    np.testing.assert_allclose(plain.scores(images), expected, atol=1e-4)
    np.testing.assert_allclose(
        plain.scores([image[..., 0] for image in images]), expected, atol=1e-4
    )
    colour = Image.fromarray(images[0, ..., 0]).convert("RGB").resize((16, 20))
    with_axis = ImageClassifier(convert((10, 8, 1)), **options)
    assert plain.classify(colour) == with_axis.classify(colour)


class TestPickled:
    """A copy in another process has the file's content and all options."""

    def test_scores_and_options(self, described, network, tmp_path):
        path = tmp_path / "m.tflite"
        path.write_bytes(described())
        names = {f"class {number}": number for number in range(5)}
        with ImageClassifier(
            path, labels=names, mean=3, std=(2, 4, 8), threads=1, crop=True
        ) as one:
            path.unlink()
            copy = pickle.loads(pickle.dumps(one))
            images = network.images(3)
            np.testing.assert_array_equal(copy.scores(images), one.scores(images))
            photo = Image.fromarray(images[0]).resize((60, 20))
            assert copy.classify(photo) == one.classify(photo)  # the crop is kept, too
            assert copy.labels == one.labels == tuple(names)
        assert np.isfinite(copy.scores(images)).all(), "closing the first left the copy open"

    def test_pool_of_processes(self, described, network):
        classifier, images = ImageClassifier(described("int8")), network.images(4)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found = pool.map(classifier.scores, [images[:2], images[2:]])
        np.testing.assert_array_equal(np.concatenate(found), classifier.scores(images))

    def test_untrusted(self, described, network):
        classifier = ImageClassifier(described(), untrusted=Limits(seconds=20))
        copy = pickle.loads(pickle.dumps(classifier))
        assert type(copy._session) is type(classifier._session)
        assert copy._session._limits == classifier._session._limits
        copy.close()
        classifier.close()

    def test_file(self, described):
        file = ModelFile.read(described())
        assert pickle.loads(pickle.dumps(file)) == file


def test_more_than_one_output(network):
    import tensorflow as tf

    function = network.function()

    def call(x):
        return {"scores": function(x), "size": tf.reduce_sum(x)}

    spec = tf.TensorSpec((1, 12, 10, 3))
    concrete = tf.function(call, input_signature=[spec]).get_concrete_function()
    content = tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()
    classifier = ImageClassifier(content, mean=MEAN, std=STD)
    images = network.images(3)
    scores, sizes = classifier.run(images)
    np.testing.assert_allclose(scores, network.scores(images), atol=1e-5)
    np.testing.assert_allclose(sizes, normalized(images).sum((1, 2, 3)), rtol=1e-3)


def test_several_threads_at_once(described, network):
    images = network.images(40, seed=8)
    for batch in (1, None):
        classifier = ImageClassifier(described(batch=batch))
        expected = classifier.scores(images)
        wrong = []

        def work(start, classifier=classifier, expected=expected, wrong=wrong):
            for index in range(start, 40, 4):
                count = 1 + index % 3
                scores = classifier.scores(images[index : index + count])
                if not np.allclose(scores, expected[index : index + count], atol=1e-6):
                    wrong.append(index)

        threads = [threading.Thread(target=work, args=(start % 4,)) for start in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


CALIBRATION = (
    "0.9,2.0,-0.5,0.1\n\n1,1.5,0.2\n0.8,3,-1,0.3\n1,1,0"  # MediaPipe counts a last newline
)


@pytest.mark.parametrize("transformation", [0, 1, 2])
def test_score_calibration_is_the_schemas_formula(plain, network, transformation):
    content = describe(plain(), calibration=(transformation, 0.05, CALIBRATION))
    images = network.images(12, seed=4)
    raw, scores = network.scores(images), ImageClassifier(content).scores(images)
    g = [lambda x: x, np.log, lambda x: np.log(x) - np.log(1 - x)][transformation]
    rows = [line.split(",") if line else None for line in CALIBRATION.split("\n")]
    for n in range(12):
        for k, row in enumerate(rows):
            expected = 0.05
            if row is not None and (len(row) == 3 or raw[n, k] >= float(row[3])):
                scale, slope, offset = map(float, row[:3])
                expected = scale / (1 + np.exp(-(slope * g(float(raw[n, k])) + offset)))
            assert scores[n, k] == pytest.approx(expected, abs=1e-5)


def test_score_calibration_that_does_not_fit(plain):
    with pytest.raises(InvalidModel, match="0, 3 or 4 numbers. Received: '1,2'"):
        ModelFile.read(describe(plain(), calibration=(0, 0.0, "1,2\n")))
    with pytest.raises(InvalidModel, match="unknown transformation 9"):
        ModelFile.read(describe(plain(), calibration=(9, 0.0, CALIBRATION)))
    with pytest.raises(ValueError, match="calibrates 2 scores, but has 5 outputs"):
        ImageClassifier(describe(plain(), calibration=(0, 0.0, "1,2,3\n1,2,3\n")))


def test_threshold_of_the_file(plain, network):
    content = describe(plain(), threshold=0.3)
    image = network.images(1)[0]
    classifier = ImageClassifier(content)
    assert all(c.score >= 0.3 for c in classifier.classify(image))
    assert len(classifier.classify(image, score_threshold=0.0)) == 5


def test_what_the_runtime_refuses_is_one_error(plain):
    from tflite_files import change

    def edit(model):
        model.operatorCodes[0].version = 99

    with pytest.raises(InvalidModel, match="ai-edge-litert rejected the model"):
        classifier = ImageClassifier(change(plain(), edit), mean=0, std=1)
        classifier.scores(np.zeros((1, 12, 10, 3), "uint8"))


def test_properties_and_benchmark(described):
    classifier = ImageClassifier(ModelFile.read(described("uint8")), threads=2)
    assert classifier.labels == LABELS
    assert classifier.input_shape == (12, 10, 3)
    assert classifier.runtime.startswith("ai-edge-litert ")
    assert classifier.model_file.metadata.name == "clothes"
    latency = classifier.benchmark(runs=20)
    assert 0 < latency.min_ms <= latency.median_ms <= latency.p90_ms
    assert (latency.runs, latency.threads) == (20, 2)
    assert "ms median" in str(latency)
    with pytest.raises(ValueError, match="runs must be an integer of at least 1. Received: 0"):
        classifier.benchmark(runs=0)


MODULES = """
import sys
import keras_dlcourse.edge
heavy = {"keras", "tensorflow", "PIL", "json", "zipfile", "ai_edge_litert", "argparse", "pathlib"}
print(sorted(heavy & {name.split(".")[0] for name in sys.modules}))
"""


def test_nothing_heavy_is_imported():
    child = subprocess.run(
        [sys.executable, "-c", MODULES], capture_output=True, text=True, check=True
    )
    assert child.stdout.strip() == "[]"


@pytest.mark.release
def test_import_costs_little_more_than_the_interpreters():
    code = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
    modules = ("ai_edge_litert.interpreter", "keras_dlcourse.edge")

    def seconds(module):
        command = [sys.executable, "-c", code.format(module)]
        return float(subprocess.run(command, capture_output=True, check=True).stdout)

    rows = np.array([[seconds(module) for module in modules] for _ in range(10)])
    bare, ours = rows.min(0)
    # benchmarks/import_time.py measures the figure (at most 1.3); this guards against a slip, on
    # machines that do other things, too.
    assert ours <= 2.5 * bare


def test_no_runtime(monkeypatch):
    from keras_dlcourse.edge.runtime import interpreter as runtime

    monkeypatch.setattr(runtime, "_found", None)
    monkeypatch.setattr(runtime, "_RUNTIMES", (("some-runtime", "no_such_runtime"),))
    with pytest.raises(
        ImportError, match=r"some-runtime: .*Run: pip install 'keras-dlcourse\[edge\]'"
    ):
        runtime.runtime_name()


@pytest.mark.release
def test_classify_costs_little_more_than_the_bare_interpreter():
    import keras
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    model = keras.applications.MobileNetV2(weights=None)
    spec = tf.TensorSpec((1, 224, 224, 3))
    concrete = tf.function(model, input_signature=[spec]).get_concrete_function()
    content = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model).convert()
    labels = [str(i) for i in range(1000)]
    classifier = ImageClassifier(content, labels=labels, mean=127.5, std=127.5, threads=1)
    runtime = Interpreter(model_content=content, num_threads=1)
    runtime.allocate_tensors()
    source = runtime.get_input_details()[0]["index"]
    target = runtime.get_output_details()[0]["index"]
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), "uint8")
    values = (image[None].astype("float32") - 127.5) / 127.5

    def bare():
        runtime.set_tensor(source, values)
        runtime.invoke()
        return runtime.get_tensor(target)

    times = {bare: [], classifier.classify: []}
    for _ in range(150):  # in turn, so that both meet the same machine
        for call in times:
            arguments = () if call is bare else (image,)
            start = time.perf_counter()
            call(*arguments)
            times[call].append(time.perf_counter() - start)
    # The quickest tenth: what else runs on the machine is not ours.
    quick = [np.percentile(seconds, 10) for seconds in times.values()]
    # benchmarks/classify_time.py measures the figure (at most 1.05); this guards against a slip.
    assert quick[1] <= 1.3 * quick[0], quick
