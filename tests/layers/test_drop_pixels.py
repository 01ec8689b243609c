"""Random pixels lose their labels, in training only."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_dlcourse as kd
from keras_dlcourse.layers import DropPixels

RANDOM = np.random.default_rng(0)
MASKS = RANDOM.integers(0, 3, (4, 40, 50)).astype("uint8")
MASKS[:, :4] = 255
DATA = {"images": np.zeros((4, 40, 50, 1), "float32"), "mask": MASKS, "other": np.arange(4)}


def _drop(layer, masks=MASKS, **options):
    return keras.ops.convert_to_numpy(layer({**DATA, "mask": masks}, **options)["mask"])


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_each_pixel_keeps_its_label_or_has_none(dtype):
    layer = DropPixels(0.3, masks={"mask": 255}, seed=1)
    found = _drop(layer, MASKS.astype(dtype), training=True)
    assert found.dtype == dtype
    kept = found != 255
    assert (found[kept] == MASKS[kept]).all()
    for image in range(4):  # four standard deviations of 1800 pixels
        assert kept[image, 4:].mean() == pytest.approx(0.3, abs=0.045)
    assert (kept[0] != kept[1]).any()
    assert (_drop(layer, training=True) != found).any()  # others in the next step
    again = _drop(DropPixels(0.3, masks={"mask": 255}, seed=1), training=True)
    assert (again == found).all()


def test_nothing_changes_outside_of_training():
    layer = DropPixels(0.3, masks={"mask": 255})
    assert (_drop(layer) == MASKS).all()
    assert (_drop(DropPixels(1.0, masks={"mask": 255}), training=True) == MASKS).all()
    masks = MASKS[..., None]  # with an axis of channels
    assert _drop(layer, masks, training=True).shape == masks.shape


def test_the_loss_is_expected_to_be_that_of_all_pixels():
    scores = RANDOM.dirichlet([1.0] * 3, MASKS.shape).astype("float32")
    loss, layer = kd.losses.PixelCrossentropy(), DropPixels(0.1, masks={"mask": 255}, seed=2)
    drawn = [float(loss(_drop(layer, training=True), scores)) for _ in range(30)]
    error = np.std(drawn) / len(drawn) ** 0.5
    assert np.std(drawn) > 0
    assert np.mean(drawn) == pytest.approx(float(loss(MASKS, scores)), abs=4 * error)


def test_it_trains_behind_layers_that_move_masks():
    inputs = keras.Input((40, 50, 1))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1, activation="softmax")(inputs))
    augmentation = keras.Sequential(
        [kd.layers.RandomAffine(5, masks={"mask": 255}), DropPixels(0.5, masks={"mask": 255})]
    )
    trainer = kd.models.AugmentedModel(model, augmentation, label="mask")
    trainer.compile("sgd", kd.losses.PixelCrossentropy())
    history = trainer.fit(DATA["images"], MASKS, batch_size=2, verbose=0).history
    assert np.isfinite(history["loss"][0])


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"keep": 0, "masks": {"mask": 255}}, ValueError, "keep must be .* above 0"),
        ({"keep": 1.1, "masks": {"mask": 255}}, ValueError, "keep must be .* at most 1"),
        ({"masks": {}}, ValueError, "masks must name at least one entry"),
        ({"masks": {"mask": 0.5}}, TypeError, "must be a class number"),
    ],
)
def test_errors_say_what_is_wrong(arguments, error, match):
    with pytest.raises(error, match=match):
        DropPixels(**arguments)


def test_a_missing_mask_is_named():
    with pytest.raises(ValueError, match="inputs lack 'masks'"):
        DropPixels(masks={"masks": 255})(DATA, training=True)
