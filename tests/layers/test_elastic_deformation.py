"""Images and masks bend by one field, and as SciPy bends them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy import ndimage

import keras_dlcourse as kd
from keras_dlcourse.layers import ElasticDeformation
from keras_dlcourse.layers.augmentation.elastic_deformation import _interpolation

SIZE = (40, 28)
SCIPY_MODES = {"constant": "grid-constant", "nearest": "nearest", "reflect": "reflect"}


def _numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def _keys(distance):
    """Return Keys's kernel (1981), equation 15."""
    s = abs(distance)
    if s < 1:
        return 1.5 * s**3 - 2.5 * s**2 + 1
    return -0.5 * s**3 + 2.5 * s**2 - 4 * s + 2 if s < 2 else 0.0


def _field(grid, size):
    """Return the displacement of each pixel by loops over pixels and grid points."""
    points = len(grid)
    field = np.zeros(size)
    for row in range(size[0]):
        for column in range(size[1]):
            y = row * (points - 1) / (size[0] - 1)
            x = column * (points - 1) / (size[1] - 1)
            for i in range(int(y) - 1, int(y) + 3):
                for j in range(int(x) - 1, int(x) + 3):
                    value = grid[min(max(i, 0), points - 1), min(max(j, 0), points - 1)]
                    field[row, column] += value * _keys(y - i) * _keys(x - j)
    return field


def _places(layer, count=2):
    rows, columns = layer._draw(count, SIZE)
    return np.stack([_numpy(rows), _numpy(columns)], axis=1)


@pytest.mark.parametrize("points", [2, 3, 5])
def test_the_field_is_that_of_cubic_convolution(points):
    grid = np.random.default_rng(0).normal(size=(points, points))
    down, across = (_interpolation(points, side) for side in SIZE)
    np.testing.assert_allclose(down @ grid @ across.T, _field(grid, SIZE), atol=1e-5)
    np.testing.assert_allclose(down.sum(axis=1), 1, atol=1e-6)
    # It passes through the vectors of the grid.
    assert (down[0] == np.eye(points)[0]).all() and (down[-1] == np.eye(points)[-1]).all()


@pytest.mark.parametrize("fill_mode", SCIPY_MODES)
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_pixels_are_those_of_scipy(fill_mode, interpolation):
    images = np.random.default_rng(1).normal(size=(2, *SIZE, 3)).astype("float32")
    arguments = {"stddev": 9.0, "fill_mode": fill_mode, "fill_value": -2.0, "seed": 5}
    bent = ElasticDeformation(**arguments, interpolation=interpolation)(images, training=True)
    places = _places(ElasticDeformation(**arguments))
    assert (places.min() < -3) and (places.max() > SIZE[0] + 2)  # also outside of the image
    for image, place, found in zip(images, places, _numpy(bent), strict=True):
        for channel in range(3):
            expected = ndimage.map_coordinates(
                image[..., channel],
                place,
                order=int(interpolation == "bilinear"),
                mode=SCIPY_MODES[fill_mode],
                cval=-2.0,
            )
            np.testing.assert_allclose(found[..., channel], expected, atol=2e-4)


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
@pytest.mark.parametrize("fill_mode", SCIPY_MODES)
def test_masks_bend_with_their_images(dtype, fill_mode):
    """An image of its own classes is its mask: bent alike, whatever their forms."""
    classes = np.random.default_rng(2).integers(0, 5, (3, *SIZE)).astype(dtype)
    layer = ElasticDeformation(
        4.0, masks={"mask": 255, "planes": 7}, interpolation="nearest", fill_mode=fill_mode,
        fill_value=255, seed=2,
    )  # fmt: skip
    inputs = {"images": classes[..., None], "mask": classes, "planes": classes[..., None]}
    bent = {name: _numpy(part) for name, part in layer(inputs, training=True).items()}
    np.testing.assert_array_equal(bent["images"][..., 0], bent["mask"])
    assert bent["mask"].dtype == bent["planes"].dtype == dtype
    inside = bent["mask"] < 5
    np.testing.assert_array_equal(bent["planes"][..., 0][inside], bent["mask"][inside])
    assert (bent["planes"][..., 0][~inside] == 7).all()
    assert inside.all() == (fill_mode != "constant") and (bent["mask"] != classes).mean() > 0.3
    still = layer(inputs, training=False)
    np.testing.assert_array_equal(_numpy(still["mask"]), classes)


def test_each_image_bends_by_itself_and_the_seed_decides():
    """Keras's own layer shows the first image in all places if the batch size is unknown."""
    images = np.random.default_rng(3).normal(size=(1, *SIZE, 1)).astype("float32")
    images = np.concatenate([images, images, images + 100])
    bent = _numpy(ElasticDeformation(3.0, fill_mode="nearest", seed=4)(images, training=True))
    again = _numpy(ElasticDeformation(3.0, fill_mode="nearest", seed=4)(images, training=True))
    np.testing.assert_array_equal(bent, again)
    assert np.abs(bent[0] - bent[1]).max() > 0.5 and bent[2].min() > 90 > bent[1].max()


def test_the_spread_is_that_of_the_argument():
    layer = ElasticDeformation(6.0, points=3, seed=1)
    moved = _places(layer, 3000) - np.mgrid[: SIZE[0], : SIZE[1]]
    corners = moved[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert abs(corners.std() - 6) < 0.1 and abs(corners.mean()) < 0.1
    assert abs(np.corrcoef(moved[:, 0, 0, 0], moved[:, 1, 0, 0])[0, 1]) < 0.06


def test_it_trains_with_masks_of_a_pipeline():
    """In the compiled step, with a batch size that is not known."""
    x = np.random.default_rng(0).integers(0, 256, (6, *SIZE, 3)).astype("uint8")
    y = (x[..., 0] > 128).astype("uint8")
    data = kd.data.pipeline(x, y, batch_size=4, class_names=("dark", "light"))
    model = keras.Sequential([keras.Input((*SIZE, 3)), keras.layers.Conv2D(2, 1)])
    trainer = kd.models.AugmentedModel(model, ElasticDeformation(2.0, masks={"mask": 255}), "mask")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=data.ignore)
    trainer.compile("sgd", loss)
    before = model.get_weights()[0]
    assert np.isfinite(trainer.fit(data, verbose=0).history["loss"][0])
    assert np.abs(model.get_weights()[0] - before).max() > 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"stddev": -1}, ValueError, "stddev must be a finite number of at least 0. Received: -1"),
        ({"stddev": "10"}, TypeError, "stddev must be a finite number"),
        ({"points": 1}, ValueError, "points must be an integer of at least 2. Received: 1"),
        ({"interpolation": "cubic"}, ValueError, "interpolation must be one of"),
        ({"fill_mode": "wrap"}, ValueError, "fill_mode must be one of 'constant', 'nearest', 'ref"),
        ({"masks": {"m": 0.5}}, TypeError, "fill value of the mask 'm' must be a class number"),
    ],
)
def test_arguments_that_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        ElasticDeformation(**arguments)


def test_inputs_that_are_refused():
    layer = ElasticDeformation(masks={"mask": 0})
    images = np.zeros((2, 8, 8, 1))
    with pytest.raises(ValueError, match=r"masks must be as large as the images, \(8, 8\)"):
        layer({"images": images, "mask": np.zeros((2, 8, 9))}, training=True)
    with pytest.raises(ValueError, match="inputs lack 'mask'"):
        layer({"images": images}, training=True)
    with pytest.raises(ValueError, match="must have a known height and width to be bent"):
        layer._bend({"images": keras.KerasTensor((2, None, 8, 1))}, {})
