"""ClassActivationMaps: what is drawn, where it goes, what is refused and what it costs."""

import io
import warnings

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import keras_dlcourse as kd
from keras_dlcourse.callbacks import ClassActivationMaps, class_activation_maps
from keras_dlcourse.callbacks._tensorboard import write_picture
from keras_dlcourse.report.maps import draw_class_activation_maps

NAMES = ["top", "bottom", "none"]
# Tracing takes longer than three steps, and JAX is fast at neither.
EAGERLY = keras.backend.backend() == "tensorflow"


def make_data(n=24, channels=1, seed=0):
    """A bright square above, below or nowhere."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    pixels = rng.integers(0, 60, (n, 16, 16, channels)).astype("uint8")
    for image, label in zip(pixels, labels, strict=True):
        column = rng.integers(0, 11)
        if label < 2:
            row = 1 if label == 0 else 10
            image[row : row + 5, column : column + 5] = 230
    return pixels, labels


def make_model(channels=1, classes=3, head=None, compiled=True):
    inputs = keras.Input((16, 16, channels))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    x = layers.Conv2D(8, 3, padding="same", strides=2, activation="relu")(x)
    x = (head or layers.GlobalAveragePooling2D())(x)
    model = keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))
    if compiled:
        model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=EAGERLY)
    return model


def pipeline(channels=1, **arguments):
    pixels, labels = make_data(channels=channels)
    normalization = kd.data.Normalization.fit(pixels)
    return kd.data.pipeline(
        pixels, labels, batch_size=8, normalization=normalization, class_names=NAMES, **arguments
    )


@pytest.fixture
def drawn(monkeypatch):
    """Record what is handed to the drawing function, which still draws."""
    calls = []

    def record(*arguments, **keywords):
        calls.append(arguments)
        return draw_class_activation_maps(*arguments, **keywords)

    monkeypatch.setattr(class_activation_maps, "draw_class_activation_maps", record)
    return calls


def test_one_picture_after_each_epoch(tmp_path):
    model, data = make_model(), pipeline(shuffle=True)
    callback = ClassActivationMaps(data, tmp_path / "new" / "cam", limit=4)
    model.fit(data, epochs=3, verbose=0, callbacks=[callback])
    files = sorted((tmp_path / "new" / "cam").glob("*.png"))
    assert [file.name for file in files] == [f"epoch_000{n}.png" for n in (1, 2, 3)]
    pictures = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    assert pictures[0].shape == pictures[1].shape and min(pictures[0].shape[:2]) > 300
    assert (pictures[0] != pictures[1]).any()


def test_every_second_epoch_and_numbers_go_on_after_a_resume(tmp_path):
    model, data = make_model(), pipeline()
    callback = ClassActivationMaps(data, tmp_path, every=2, limit=2)
    model.fit(data, epochs=3, verbose=0, callbacks=[callback])
    model.fit(data, epochs=6, initial_epoch=3, verbose=0, callbacks=[callback])
    assert [file.name for file in sorted(tmp_path.glob("*.png"))] == [
        f"epoch_000{n}.png" for n in (2, 4, 6)
    ]


def test_what_is_drawn_is_true(tmp_path, drawn):
    model, data = make_model(), pipeline()
    model.fit(data, epochs=1, verbose=0, callbacks=[ClassActivationMaps(data, tmp_path, limit=5)])
    pixels, maps, scores, predicted, labels, names, title = drawn[-1]
    examples = kd.data.take(data, 5, seed=0)
    np.testing.assert_array_equal(pixels, examples.pixels)
    np.testing.assert_array_equal(labels, examples.labels)
    output = model.predict(examples.inputs, verbose=0)
    np.testing.assert_array_equal(predicted, output.argmax(-1))
    shown = np.stack([labels, predicted], axis=1)
    np.testing.assert_allclose(scores, np.take_along_axis(output, shown, 1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        maps, kd.explain.cam(model, examples.inputs, shown), rtol=1e-3, atol=1e-4
    )
    assert tuple(names) == tuple(NAMES) and title.endswith("after epoch 1")


def test_after_learning_the_evidence_stands_where_the_object_is(tmp_path, drawn):
    """The class is the direction of the stripes of a patch; where the patch is does not matter."""
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(1)
    labels = np.arange(400) % 2
    pixels = rng.integers(0, 40, (400, 16, 16, 1)).astype("uint8")
    for image, label in zip(pixels, labels, strict=True):
        row, column = rng.integers(0, 10, 2)
        stripes = np.tile([200, 0], 3)
        image[row : row + 6, column : column + 6, 0] += (
            stripes[:, None] if label else stripes[None]
        ).astype("uint8")
    data = kd.data.pipeline(pixels, labels, normalization=kd.data.Normalization.fit(pixels))
    model = make_model(classes=2, compiled=False)
    model.compile(
        keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    callback = ClassActivationMaps(data, tmp_path, every=8, limit=30)
    history = model.fit(data, epochs=8, verbose=0, callbacks=[callback])
    assert history.history["accuracy"][-1] > 0.95
    images, maps, *_ = drawn[-1]
    for image, evidence in zip(images[..., 0], maps[:, 0], strict=True):
        rows, columns = np.nonzero(image > 100)
        inside = np.zeros((16, 16), bool)
        inside[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        assert evidence[inside].mean() > evidence[~inside].mean() + 0.1


@pytest.mark.parametrize(
    "kind", ["arrays", "one-hot", "column", "images only", "colour", "dataset"]
)
def test_data_of_many_kinds(tmp_path, drawn, kind):
    channels = 3 if kind == "colour" else 1
    pixels, labels = make_data(channels=channels)
    x = pixels.astype("float32") / 100 - 1
    one_hot = np.eye(3, dtype="float32")[labels]
    data = {
        "arrays": (x, labels),
        "one-hot": (x, one_hot),
        "column": (x, labels[:, None].astype("float32")),
        "images only": x,
        "colour": (x, labels),
        "dataset": [(x[:10], labels[:10]), (x[10:], labels[10:])],
    }[kind]
    model = make_model(channels)
    model.fit(x, labels, verbose=0, callbacks=[ClassActivationMaps(data, tmp_path, limit=3)])
    images, maps, scores, _, drawn_labels, names, _ = drawn[-1]
    assert images.dtype == np.uint8 and images.max() == 255 and images.min() == 0
    assert maps.shape[1] == scores.shape[1] == (1 if kind == "images only" else 2)
    assert tuple(names) == ("0", "1", "2")
    expected = None if kind == "images only" else kd.data.take((x, labels), 3, seed=0).labels
    np.testing.assert_array_equal(drawn_labels, expected)
    assert (tmp_path / "epoch_0001.png").exists()


def test_one_output_answers_yes_or_no(tmp_path, drawn):
    pixels, labels = make_data()
    x, y = pixels / 255.0, (labels == 0).astype("float32")
    inputs = keras.Input((16, 16, 1))
    x_ = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(inputs))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x_))
    model.compile("sgd", "binary_crossentropy")
    callback = ClassActivationMaps((x, y), tmp_path, limit=6, class_names=["no", "yes"])
    model.fit(x, y, verbose=0, callbacks=[callback])
    _, _, scores, predicted, true, _, _ = drawn[-1]
    yes = model.predict(kd.data.take((x, y), 6, seed=0).inputs, verbose=0)[:, 0]
    np.testing.assert_allclose(scores[:, 0], np.where(true == 1, yes, 1 - yes), rtol=1e-4)
    np.testing.assert_array_equal(predicted, yes > 0.5)


def test_names_recorded_in_the_model_are_used(tmp_path, drawn):
    inputs = keras.Input((16, 16, 1))
    x = layers.Conv2D(2, 3)(kd.layers.ImageDescription(class_names=["a", "b", "c"])(inputs))
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    callback = ClassActivationMaps(make_data(), tmp_path, limit=2)
    model.fit(*make_data(), verbose=0, callbacks=[callback])
    assert drawn[-1][5] == ("a", "b", "c")


def test_a_network_gone_nan_is_drawn_without_an_error(tmp_path):
    model, data = make_model(), pipeline()

    class Break(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            model.set_weights([weight * np.nan for weight in model.get_weights()])

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        model.fit(
            data, verbose=0, callbacks=[Break(), ClassActivationMaps(data, tmp_path, limit=2)]
        )
    assert (tmp_path / "epoch_0001.png").exists()


class NoEpoch(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        raise AssertionError("an epoch was begun")


@pytest.mark.parametrize(
    ("model", "data", "arguments", "message"),
    [
        ({"head": layers.Flatten()}, {}, {}, "ends in Dense .* <- Flatten"),
        ({"channels": 3}, {}, {}, r"\(n, 16, 16, 3\).*Received: \(8, 16, 16, 1\)"),
        ({"classes": 2}, {}, {"class_names": ["a", "b"]}, "from 0 to 1,.*from 0 to 2"),
        ({}, {}, {"class_names": ["a", "b"]}, "each of the 3 classes.*2 names, a, b"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_before_the_first_epoch(
    tmp_path, model, data, arguments, message
):
    network = make_model(**model)
    shape = network.input_shape[1:]
    callback = ClassActivationMaps(pipeline(**data), tmp_path / "cam", **arguments)
    with pytest.raises(ValueError, match=message):
        network.fit(np.zeros((4, *shape)), np.zeros(4), verbose=0, callbacks=[callback, NoEpoch()])
    assert not (tmp_path / "cam").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"every": 0}, ValueError, "every must be .*0"),
        ({"limit": 0}, ValueError, "limit must be .*0"),
        ({"limit": 2.5}, TypeError, "limit must be .*2.5"),
        ({"folder": ""}, ValueError, "folder must be a folder path"),
        ({"folder": __file__}, ValueError, "folder must be a folder. .* is a file"),
        ({"tensorboard": True}, TypeError, "tensorboard must be a folder path. Received: True"),
        ({"class_names": "abc"}, TypeError, "class_names must be a list.*'abc'"),
        ({"data": np.zeros((4, 3))}, ValueError, r"shape \(n, height, width, channels\).*\(4, 3\)"),
        ({"data": (np.zeros((2, 4, 4, 1)), np.ones((2, 3)))}, ValueError, "one true class"),
        ({"data": (np.zeros((2, 4, 4, 1)), np.array([0.5, 1]))}, ValueError, "that are integers"),
    ],
)
def test_arguments_are_checked_when_it_is_made(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        ClassActivationMaps(**{"data": make_data(), "folder": tmp_path, **arguments})


def test_picture_before_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Pass this callback to fit first"):
        ClassActivationMaps(make_data(), tmp_path).picture()


def test_a_full_disk_ends_in_a_warning_and_training_goes_on(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(class_activation_maps, "write_bytes", full)
    model, data = make_model(), pipeline()
    with pytest.warns(UserWarning, match="No space left.* Training continues") as raised:
        history = model.fit(
            data, epochs=2, verbose=0, callbacks=[ClassActivationMaps(data, tmp_path, limit=2)]
        )
    ours = [str(one.message) for one in raised if "Training continues" in str(one.message)]
    assert "epoch 2" in ours[-1]  # Keras warns as well
    assert len(history.epoch) == 2 and not list(tmp_path.iterdir())


def test_training_is_not_disturbed_and_nothing_is_traced_again(tmp_path):
    traces = []

    class Counted(layers.Layer):
        def call(self, x):
            traces.append(1)
            return x

    def train(callbacks):
        keras.utils.set_random_seed(3)
        inputs = keras.Input((16, 16, 1))
        x = layers.Dropout(0.3)(Counted()(inputs))
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))
        model = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
        model.compile("adam", "sparse_categorical_crossentropy")
        counts = []
        count = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: counts.append(len(traces))
        )
        model.fit(pipeline(shuffle=True), epochs=4, verbose=0, callbacks=[*callbacks, count])
        return model.get_weights(), counts

    expected, _ = train([])
    weights, counts = train([ClassActivationMaps(pipeline(), tmp_path, limit=3)])
    for ours, theirs in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    if keras.backend.backend() != "torch":  # which traces nothing and runs the layer each time
        assert len(set(counts)) == 1


def test_pictures_reach_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    model, data = make_model(), pipeline()
    callback = ClassActivationMaps(data, tmp_path / "cam", limit=2, tensorboard=tmp_path / "logs")
    model.fit(data, epochs=3, verbose=0, callbacks=[callback])
    tf = pytest.importorskip("tensorflow", reason="TensorFlow reads the event files")
    files = sorted((tmp_path / "logs" / "class_activation_maps").iterdir())
    events = [list(tf.compat.v1.train.summary_iterator(str(file)))[1] for file in files]
    assert [event.step for event in events] == [1, 2, 3]
    for event in events:
        value = event.summary.value[0]
        png = (tmp_path / "cam" / f"epoch_{event.step:04d}.png").read_bytes()
        assert value.tag == "class_activation_maps" and value.image.encoded_image_string == png
        assert (value.image.width, value.image.height) == Image.open(io.BytesIO(png)).size


def test_tensorboard_is_asked_for_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = r"needs tensorboard, which is not .*pip install 'keras-dlcourse\[tensorboard\]'"
    with pytest.raises(ImportError, match=message):
        ClassActivationMaps(pipeline(), tmp_path / "cam", tensorboard=tmp_path / "logs")


def test_event_files_are_as_tensorflow_writes_them(tmp_path):
    pytest.importorskip("tensorboard")
    tf = pytest.importorskip("tensorflow", reason="TensorFlow checks the checksums")
    path = write_picture(tmp_path, "tag ä", 300, b"x" * 70_000, (12, 345))
    version, event = tf.compat.v1.train.summary_iterator(str(path))
    assert version.file_version == "brain.Event:2"
    value = event.summary.value[0]
    assert (event.step, value.tag, value.image.height, value.image.width) == (300, "tag ä", 12, 345)
    assert value.image.encoded_image_string == b"x" * 70_000
    later = write_picture(tmp_path, "tag", 301, b"x", (1, 1))
    assert sorted([later.name, path.name]) == [path.name, later.name]


@pytest.mark.parametrize("method", ["grad_cam", "eigen_cam", "saliency", "score_cam", "own"])
def test_any_method_draws_and_training_is_the_same(tmp_path, method):
    def own(model, images, classes):
        return np.abs(images[..., 0]) / np.abs(images).max()

    def trained(callbacks):
        keras.utils.set_random_seed(0)
        model = make_model(head=layers.Flatten())  # no head that "cam" could take
        model.fit(pipeline(), epochs=2, verbose=0, callbacks=callbacks)
        return model

    callback = ClassActivationMaps(
        pipeline(), tmp_path, limit=3, method=own if method == "own" else method
    )
    first, second = trained([callback]), trained([])
    for ours, expected in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert len(list(tmp_path.glob("epoch_*.png"))) == 2
    if method == "grad_cam":  # drawn with the weights of the end of training
        planes, scores, predicted = callback._maps()
        inputs = callback._examples.inputs
        expected = kd.explain.grad_cam(first, inputs, np.stack([callback._labels, predicted], 1))
        np.testing.assert_allclose(planes, expected, atol=1e-4)


def test_an_animation_joins_the_epochs(tmp_path):
    callback = ClassActivationMaps(pipeline(), tmp_path, limit=2)
    make_model().fit(pipeline(), epochs=3, verbose=0, callbacks=[callback])
    with Image.open(tmp_path / "epochs.gif") as animation:
        assert animation.n_frames == 3
        assert animation.size == Image.open(tmp_path / "epoch_0001.png").size
    quiet = ClassActivationMaps(pipeline(), tmp_path / "quiet", limit=2, animation=False)
    make_model().fit(pipeline(), epochs=2, verbose=0, callbacks=[quiet])
    assert not list((tmp_path / "quiet").glob("*.gif"))


def test_unknown_methods_are_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match="method must be one of 'cam', 'grad_cam'"):
        ClassActivationMaps(pipeline(), tmp_path, method="grad-cam")
    with pytest.raises(TypeError, match="a name or a function"):
        ClassActivationMaps(pipeline(), tmp_path, method=3)


def test_mean_maps_of_classes_are_drawn_at_the_end(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        class_activation_maps, "draw_class_means", lambda *a: drawn.append(a) or _figure()
    )
    model, data = make_model(), pipeline()
    callback = ClassActivationMaps(data, tmp_path, limit=2, class_means=24)
    model.fit(data, epochs=2, verbose=0, callbacks=[callback])
    assert (tmp_path / "class_means.png").read_bytes()[:4] == b"\x89PNG" and len(drawn) == 1
    _, maps, counts, names = drawn[0]
    examples = kd.data.take(data, 24, seed=0)
    expected = kd.explain.class_mean_maps(model, examples.inputs, examples.labels).maps
    np.testing.assert_allclose(maps, expected, atol=1e-4)
    assert counts.tolist() == [8, 8, 8] and tuple(names) == tuple(NAMES)
    with pytest.raises(ValueError, match="class_means needs labels"):
        ClassActivationMaps(examples.inputs, tmp_path, class_means=5)


def _figure():
    return draw_class_activation_maps(
        np.zeros((1, 8, 8, 1), "uint8"), np.zeros((1, 1, 8, 8)), [[1.0]], [0], None, ["a"]
    )
