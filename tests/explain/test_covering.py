"""Score-CAM and occlusion beside loops that cover one thing at a time."""

import keras
import numpy as np
import pytest
from explained_models import SHAPE, classifier, images
from keras import layers as L
from PIL import Image

from keras_dlcourse import explain
from keras_dlcourse.explain.engine.scaling import resize_and_scale


def _logits(model):
    """The same network without its softmax."""
    last = model.layers[-1]
    twin = L.Dense(4)
    outputs = twin(last.input)
    twin.set_weights(last.get_weights())
    return keras.Model(model.inputs, outputs)


@pytest.mark.parametrize("baseline", [0.0, 0.4])
def test_score_cam_beside_one_mask_at_a_time(baseline):
    model, x = classifier(), images(3)
    logits = _logits(model)
    features = keras.Model(model.inputs, model.get_layer("second").output).predict(x, verbose=0)
    ours = explain.score_cam(model, x, 2, raw=True, batch_size=4, baseline=baseline)
    for image, A, found in zip(x, features, ours, strict=True):
        scores = []
        for k in range(A.shape[-1]):
            low, high = A[..., k].min(), A[..., k].max()
            plane = (A[..., k] - low) / (high - low) if high > low else np.zeros_like(A[..., k])
            mask = np.asarray(Image.fromarray(plane).resize((12, 10), Image.Resampling.BILINEAR))
            masked = baseline + mask[..., None] * (image - baseline)
            scores.append(logits.predict(masked[None], verbose=0)[0, 2])
        weights = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(found, np.maximum(A @ weights, 0), rtol=1e-3, atol=1e-5)


def test_score_cam_takes_the_class_of_the_image_and_scales():
    model, x = classifier(), images(3)
    top = model.predict(x, verbose=0).argmax(1)
    np.testing.assert_array_equal(explain.score_cam(model, x), explain.score_cam(model, x, top))
    raw = explain.score_cam(model, x, raw=True)
    np.testing.assert_array_equal(explain.score_cam(model, x), resize_and_scale(raw, SHAPE[:2]))


def test_occlusion_beside_one_patch_at_a_time():
    model, x = classifier(), images(2)
    logits = _logits(model)
    ours = explain.occlusion(
        model, x, 1, raw=True, patch=(3, 4), stride=(2, 3), value=0.2, batch_size=7
    )
    for image, found in zip(x, ours, strict=True):
        total, count = np.zeros((10, 12)), np.zeros((10, 12))
        plain = logits.predict(image[None], verbose=0)[0, 1]
        for top in (0, 2, 4, 6, 7):
            for left in (0, 3, 6, 8):
                covered = image.copy()
                covered[top : top + 3, left : left + 4] = 0.2
                fall = plain - logits.predict(covered[None], verbose=0)[0, 1]
                total[top : top + 3, left : left + 4] += fall
                count[top : top + 3, left : left + 4] += 1
        np.testing.assert_allclose(found, total / count, rtol=1e-3, atol=1e-5)


def test_occlusion_finds_the_only_pixel_that_counts():
    given = keras.Input((9, 9, 1))
    model = keras.Model(given, L.Dense(2)(L.Flatten()(given)))
    kernel = np.zeros((81, 2))
    kernel[4 * 9 + 6, 1] = 1
    model.layers[-1].set_weights([kernel, np.zeros(2)])
    maps = explain.occlusion(model, np.ones((1, 9, 9, 1)), 1, patch=1, stride=1)
    assert np.unravel_index(maps[0].argmax(), (9, 9)) == (4, 6) and maps.sum() == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 0}, r"patch must be .*10 x 12. Received: 0"),
        ({"patch": (3, 13)}, "patch must be"),
        ({"patch": 2.5}, "patch must be"),
        ({"stride": -1}, "stride must be"),
    ],
)
def test_mistakes_are_said(options, message):
    with pytest.raises(ValueError, match=message):
        explain.occlusion(classifier(), images(1), 1, **options)
