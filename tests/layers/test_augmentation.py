"""Superimposing, augmentation by class, and what holds of Keras's own augmentation layers."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from scipy import stats

import keras_dlcourse as kd
from keras_dlcourse.layers import ClassSpecific, RandomAffine, Superimpose

RANDOM = np.random.default_rng(0)


def _numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def _single(count: int) -> np.ndarray:
    """Return images of one pixel each, with two channels: 1 and the number of the image."""
    return np.stack([np.ones(count), np.arange(count)], -1).reshape(count, 1, 1, 2)


class TestSuperimpose:
    def test_each_image_gets_one_other_with_a_weight_within_the_range(self):
        images = RANDOM.uniform(size=(500, 3, 4, 2)).astype("float32")
        blended = _numpy(Superimpose((0.1, 0.3), seed=1)(images, training=True))
        # image + weight * (other - image): find the partner that explains every pixel.
        weights, partners = [], []
        flat, mixed = images.reshape(500, -1), blended.reshape(500, -1)
        for one, found in zip(flat, mixed, strict=True):
            apart = flat - one
            along = apart @ (found - one) / np.maximum((apart**2).sum(1), 1e-9)
            left = np.abs(one + along[:, None] * apart - found).max(1)
            partners.append(left.argmin())
            weights.append(along[left.argmin()])
        assert len(set(partners)) >= 499  # a permutation; one image may be its own partner
        weights = np.array(weights)[np.array(partners) != np.arange(500)]
        assert stats.kstest(weights, stats.uniform(0.1, 0.2).cdf).pvalue > 0.01

    def test_labels_and_all_else_stay(self):
        inputs = {"images": _single(8), "labels": np.eye(8), "box": np.zeros((8, 4))}
        outputs = Superimpose(0.4, seed=0)(inputs, training=True)
        for name in ("labels", "box"):
            np.testing.assert_array_equal(_numpy(outputs[name]), inputs[name])
        assert np.abs(_numpy(outputs["images"]) - inputs["images"]).max() > 0.1
        same = Superimpose(0.4)(inputs)
        np.testing.assert_array_equal(_numpy(same["images"]), inputs["images"])

    @pytest.mark.parametrize("weight", [0.5, -0.1, (0.3, 0.2), (0.1,), "low", float("nan")])
    def test_wrong_weights(self, weight):
        with pytest.raises(ValueError, match="weight must be a number from 0 to below 0.5"):
            Superimpose(weight)

    def test_one_image_alone_is_refused(self):
        with pytest.raises(ValueError, match="batch of rank 4"):
            Superimpose()(np.zeros((8, 8, 3)), training=True)


BRIGHTER = {"factor": (0.5, 0.5), "value_range": (0, 1)}


class TestClassSpecific:
    @pytest.mark.parametrize("form", ["numbers", "column", "one-hot"])
    def test_each_class_is_augmented_at_its_rate(self, form):
        classes = RANDOM.integers(0, 4, 4000)
        labels = {"numbers": classes, "column": classes[:, None], "one-hot": np.eye(4)[classes]}
        layer = ClassSpecific(
            keras.layers.RandomBrightness(**BRIGHTER), {1: 1.0, 3: 0.6}, otherwise=0.1, seed=2
        )
        inputs = {"images": np.zeros((4000, 1, 1, 1)), "labels": labels[form]}
        outputs = layer(inputs, training=True)
        is_changed = _numpy(outputs["images"])[:, 0, 0, 0] > 0.4
        for number, rate in enumerate((0.1, 1, 0.1, 0.6)):
            here = is_changed[classes == number]
            assert stats.binomtest(int(here.sum()), len(here), rate).pvalue > 0.001
        np.testing.assert_array_equal(_numpy(outputs["labels"]), labels[form])

    def test_boxes_and_masks_of_chosen_examples_move_along(self):
        classes = np.arange(20, dtype="int32") % 2
        images = np.zeros((20, 8, 8, 1), "float32")
        images[:, 2:4, 1:3] = 1
        inputs = {
            "images": images,
            "labels": classes,
            "box": np.tile(np.array([1, 2, 3, 4], "float32"), (20, 1)),
            "mask": images[..., 0].astype("int32"),
        }
        moving = RandomAffine(translation=0.3, boxes={"box": "xyxy"}, masks={"mask": 0}, seed=1)
        outputs = ClassSpecific(moving, {1: 1.0})(inputs, training=True)
        outputs = {name: _numpy(part) for name, part in outputs.items()}
        for name, part in outputs.items():
            assert part.dtype == inputs[name].dtype, name
            np.testing.assert_array_equal(part[classes == 0], inputs[name][classes == 0])
        assert (outputs["box"][1::2] != inputs["box"][1::2]).any(1).all()
        for mask, (left, top, right, bottom) in zip(
            outputs["mask"][1::2], outputs["box"][1::2], strict=True
        ):
            rows, columns = np.nonzero(mask)
            shown = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(shown, [left, top, right, bottom], atol=0.51)

    def test_boxes_as_keras_nests_them(self):
        """Keras's layers write into the dictionary that they are given; ours must not."""
        boxes = np.tile(np.array([[[1.0, 2.0, 3.0, 4.0]]], "float32"), (6, 1, 1))
        inputs = {
            "images": np.zeros((6, 8, 8, 1), "float32"),
            "labels": np.array([0, 1, 0, 1, 0, 1]),
            "bounding_boxes": {"boxes": boxes, "labels": np.zeros((6, 1))},
        }
        shift = keras.layers.RandomTranslation((0.25, 0.25), (0.25, 0.25))
        shift.bounding_box_format = "xyxy"
        outputs = ClassSpecific(shift, {0: 1.0})(inputs, training=True)
        found = _numpy(outputs["bounding_boxes"]["boxes"])[:, 0]
        np.testing.assert_allclose(found[::2], np.tile([3, 4, 5, 6], (3, 1)), atol=1e-4)
        np.testing.assert_array_equal(found[1::2], boxes[1::2, 0])

    def test_nothing_happens_outside_of_training(self):
        inputs = {"images": _single(4).astype("float32"), "labels": np.arange(4)}
        layer = ClassSpecific(keras.layers.RandomBrightness(**BRIGHTER), {}, otherwise=1.0)
        np.testing.assert_array_equal(_numpy(layer(inputs)["images"]), inputs["images"])

    def test_configuration_brings_it_back(self):
        layers = [keras.layers.RandomBrightness(**BRIGHTER), RandomAffine(degrees=20, seed=1)]
        layer = ClassSpecific(layers, {1: 1, "7": 0.25}, 0.5, label="label", seed=4, name="some")
        twin = ClassSpecific.from_config(json.loads(json.dumps(layer.get_config())))
        for name in ("rates", "otherwise", "label", "seed", "name"):
            assert getattr(twin, name) == getattr(layer, name)
        assert twin.rates == {1: 1.0, 7: 0.25}
        inputs = {"images": RANDOM.uniform(size=(9, 5, 5, 1)), "label": np.arange(9) % 3}
        same = [_numpy(one(inputs, training=True)["images"]) for one in (layer, twin)]
        np.testing.assert_array_equal(*same)
        name = keras.saving.get_registered_name(ClassSpecific)
        assert name == "keras_dlcourse>ClassSpecific"

    def test_errors(self):
        flip = keras.layers.RandomFlip()
        with pytest.raises(TypeError, match="layers must be Keras layers. Received: 'flip'"):
            ClassSpecific("flip", {0: 1})
        with pytest.raises(ValueError, match="layers must be one or more Keras layers"):
            ClassSpecific([], {0: 1})
        with pytest.raises(ValueError, match="the rate of class 2 must be a number from 0 to 1"):
            ClassSpecific(flip, {2: 1.5})
        with pytest.raises(TypeError, match="otherwise must be a number from 0 to 1"):
            ClassSpecific(flip, {}, otherwise=True)
        with pytest.raises(ValueError, match="class numbers as keys. Received: 'cat'"):
            ClassSpecific(flip, {"cat": 1})
        with pytest.raises(ValueError, match="inputs lack 'labels'. Received: 'images'"):
            ClassSpecific(flip, {0: 1})({"images": np.zeros((2, 4, 4, 1))}, training=True)


class TestKeras:
    """The documents say these things of Keras's own layers; a change of Keras shows here."""

    @pytest.mark.parametrize("alpha", [0.2, 1.0])
    def test_mix_up_has_a_beta_weight_for_each_image_and_mixes_labels_by_it(self, alpha):
        count = 1500  # float32 rounds some of the weights near 1 to it, which more would show
        inputs = {"images": _single(count), "labels": np.eye(count, dtype="float32")}
        outputs = keras.layers.MixUp(alpha, seed=3)(dict(inputs), training=True)
        labels = _numpy(outputs["labels"])
        weights = labels[np.arange(count), np.arange(count)]
        partners = labels.copy()
        partners[np.arange(count), np.arange(count)] = 0
        others = partners.argmax(1)
        is_mixed = (weights > 1e-3) & (weights < 1 - 1e-3)
        assert stats.kstest(weights, stats.beta(alpha, alpha).cdf).pvalue > 0.01
        np.testing.assert_allclose(labels.sum(1), 1, atol=1e-5)
        expected = weights * np.arange(count) + (1 - weights) * others
        found = _numpy(outputs["images"])[..., 1].ravel()
        np.testing.assert_allclose(found[is_mixed], expected[is_mixed], rtol=1e-3, atol=0.1)

    def test_mix_up_gets_masks_and_boxes_wrong(self):
        """The day it does not, the documents may say so."""
        inputs = {
            "images": np.zeros((4, 8, 8, 1), "float32"),
            "segmentation_masks": np.zeros((4, 8, 8, 1), "float32"),
            "bounding_boxes": {"boxes": np.zeros((4, 2, 4)), "labels": np.zeros((4, 2))},
        }
        layer = keras.layers.MixUp(0.5, seed=0)
        layer.bounding_box_format = "xyxy"
        outputs = layer(inputs, training=True)
        assert outputs["segmentation_masks"].shape != (4, 8, 8, 1)
        boxes = outputs["bounding_boxes"]
        assert boxes["boxes"].shape[:2] != boxes["labels"].shape

    def test_cut_mix_has_the_weight_of_the_paper_only_with_equal_factors(self):
        layer = keras.layers.CutMix((1.0, 1.0))
        seeds = [keras.random.SeedGenerator(k) for k in range(20)]
        weights = [_numpy(layer._generate_mix_weight(100, seed)) for seed in seeds]
        assert stats.kstest(np.concatenate(weights), stats.beta(1, 1).cdf).pvalue > 0.01
        layer = keras.layers.CutMix(1.0)
        weights = [_numpy(layer._generate_mix_weight(100, seed)) for seed in seeds]
        assert stats.kstest(np.concatenate(weights), stats.beta(1, 1).cdf).pvalue < 1e-6

    def test_cut_mix_labels_follow_the_area_up_to_whole_pixels(self):
        images = np.broadcast_to(np.arange(64)[:, None, None, None], (64, 20, 30, 1))
        outputs = keras.layers.CutMix((1.0, 1.0), seed=0)(
            {"images": images.astype("float32"), "labels": np.eye(64, dtype="float32")},
            training=True,
        )
        kept = (_numpy(outputs["images"]) == images).mean((1, 2, 3))
        weights = _numpy(outputs["labels"])[np.arange(64), np.arange(64)]
        assert np.abs(kept - weights).max() < 1 / 20 + 1 / 30 + 1e-3
        assert np.ptp(weights) > 0.5

    @pytest.mark.parametrize("layer", [keras.layers.MixUp(0.5), keras.layers.CutMix(1.0)])
    def test_mixing_leaves_sample_weights_alone(self, layer):
        weights = np.arange(8.0)
        inputs = {"images": _single(8), "labels": np.eye(8, dtype="float32")}
        outputs = layer({**inputs, "sample_weight": weights}, training=True)
        np.testing.assert_array_equal(_numpy(outputs["sample_weight"]), weights)

    def test_a_model_that_is_called_without_a_word_on_training_augments(self):
        """`predict`, `evaluate`, export and `training=False` do not; our layers never do."""
        images = RANDOM.uniform(size=(8, 6, 6, 1)).astype("float32")
        for layer, augments in ((keras.layers.RandomFlip(seed=1), True), (Superimpose(), False)):
            model = keras.Sequential([keras.Input((6, 6, 1)), layer])
            assert (np.abs(_numpy(model(images)) - images).max() > 0.1) == augments
            np.testing.assert_array_equal(_numpy(model(images, training=False)), images)

    @pytest.mark.slow
    def test_all_that_the_documents_name_train_within_a_model(self):
        ours, layers, colours = kd.layers, keras.layers, {"value_range": (0, 1)}
        stack = [
            ours.RandomAffine(degrees=10),
            ours.Superimpose(),
            layers.RandomFlip(),
            layers.RandomTranslation(0.1, 0.1),
            layers.RandomRotation(0.1),
            layers.RandomZoom(0.1),
            layers.RandomPerspective(1.0),
            layers.GaussianNoise(0.1),
            layers.RandomGaussianBlur(1.0, **colours),
            layers.RandomBrightness(0.2, **colours),
            layers.RandomContrast(0.2, **colours),
            layers.RandomColorJitter(**colours, brightness_factor=0.1, contrast_factor=0.1),
            layers.RandomGrayscale(0.5),
            layers.RandomErasing(0.5, **colours),
            layers.RandAugment(**colours),
            layers.AugMix(**colours),
        ]
        if keras.backend.backend() == "tensorflow":
            stack.append(layers.RandomElasticTransform(1.0, **colours))
        images = RANDOM.uniform(size=(4, 16, 12, 3)).astype("float32")
        model = keras.Sequential([keras.Input((16, 12, 3)), *stack])
        np.testing.assert_allclose(model.predict(images, verbose=0), images, atol=1e-6)
        model.add(layers.GlobalAveragePooling2D())
        model.compile("sgd", "mse")
        loss = model.train_on_batch(images, images.mean((1, 2)))
        assert np.isfinite(loss) and loss > 1e-6

    def test_elastic_transform_moves_no_mask_with_its_image(self):
        if keras.backend.backend() != "tensorflow":
            pytest.skip("RandomElasticTransform of Keras 3.15 runs on TensorFlow only")
        images = np.zeros((4, 32, 32, 1), "float32")
        images[:, 8:24, 8:24] = 1
        layer = keras.layers.RandomElasticTransform(
            1.0, 1.0, interpolation="nearest", value_range=(0, 1), seed=0
        )
        outputs = layer({"images": images, "segmentation_masks": images.copy()}, training=True)
        image, mask = (_numpy(outputs[name]) for name in ("images", "segmentation_masks"))
        assert (image != images).any() and (image != mask).mean() > 0.01

    def test_elastic_transform_shows_the_first_image_if_the_batch_size_is_unknown(self):
        if keras.backend.backend() != "tensorflow":
            pytest.skip("RandomElasticTransform of Keras 3.15 runs on TensorFlow only")
        import tensorflow as tf

        layer = keras.layers.RandomElasticTransform(1.0, 1.0, seed=0)
        run = tf.function(
            lambda images: layer(images, training=True),
            input_signature=[tf.TensorSpec((None, 8, 8, 1))],
        )
        images = np.ones((3, 8, 8, 1), "float32") * np.reshape([1, 2, 3], (3, 1, 1, 1))
        np.testing.assert_allclose(run(images), 1, atol=1e-5)
        with pytest.raises(TypeError, match="uint8"):
            masks = images.astype("uint8")
            layer({"images": images, "segmentation_masks": masks}, training=True)


def _operators(model, path) -> dict[str, tuple[int, int]]:
    return kd.export.inspect(
        kd.export.to_tflite(model, path, preprocessing=kd.data.Normalization.identity())
    ).operators


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the converter reads TensorFlow graphs only"
)
def test_nothing_of_augmentation_is_in_the_file(tmp_path):
    """A model with all of it has the operators and the answers of the model without."""
    images = RANDOM.normal(size=(2, 12, 12, 3)).astype("float32")
    inputs = keras.Input((12, 12, 3))
    dense = keras.layers.Dense(3)

    def model_with(*layers):
        x = inputs
        for layer in layers:
            x = layer(x)
        return keras.Model(inputs, dense(keras.layers.Flatten()(x)))

    plain = model_with()
    augmented = model_with(
        Superimpose(0.3),
        RandomAffine(degrees=20),
        keras.layers.RandomFlip(),
        keras.layers.RandomErasing(1.0, value_range=(0, 1)),
        keras.layers.GaussianNoise(0.1),
    )
    expected = _numpy(plain(images))
    same = _numpy(augmented(images, training=False))
    np.testing.assert_allclose(same, expected, atol=1e-5)
    assert np.abs(_numpy(augmented(images, training=True)) - expected).max() > 0.1
    assert _operators(augmented, tmp_path / "a.tflite") == _operators(plain, tmp_path / "b.tflite")
