"""The verdict on a run: each reason by itself, the most serious one first."""

from __future__ import annotations

import numpy as np
import pytest

import keras_dlcourse as kd
from keras_dlcourse.training.run.floor import measure_floor
from keras_dlcourse.training.run.verdict import CLASSIFICATION_RULES, judge

CONFIG = {"data": {"train": 400, "classes": ["cat", "dog"]}}
GOOD = {
    "training_accuracy": 0.95,
    "validation_accuracy": 0.93,
    "test": {"accuracy": 0.92, "accuracy_low": 0.89, "accuracy_high": 0.95, "examples": 500},
    "floor": {"HOG and linear SVM": 0.8, "most frequent class": 0.5},
    "files": [
        {"file": "model.keras"},
        {"file": "model.int8.tflite", "passed": True, "agreement": 0.99, "accuracy_loss": 0.002},
    ],
}


def _change(**changes):
    return {**GOOD, **changes}


def _file(**figures):
    return {"files": [GOOD["files"][0], {**GOOD["files"][1], **figures}]}


def test_nothing_to_object_to():
    verdict = judge(CLASSIFICATION_RULES, CONFIG, GOOD)
    assert (verdict.level, str(verdict)) == ("good", "Good.")
    assert verdict.to_dict() == {"level": "good", "text": "Good.", "reasons": []}


def test_a_network_that_is_always_right_may_be_no_better_than_a_simple_method():
    perfect = {"test": {**GOOD["test"], "accuracy": 1.0}, "floor": {"HOG and linear SVM": 1.0}}
    assert judge(CLASSIFICATION_RULES, CONFIG, _change(**perfect)).level == "good"


@pytest.mark.parametrize(
    ("changes", "level", "text"),
    [
        (_file(passed=False, cause="int8 range"), "do not use",
         "model.int8.tflite does not agree with Keras: int8 range"),
        ({"floor": {"HOG and linear SVM": 0.92}}, "do not use",
         "HOG and linear SVM on the same images reaches 92.0%, the network 92.0%"),
        (_file(accuracy_loss=0.011), "look here", "int8.tflite loses 1.1 points of accuracy"),
        (_file(accuracy_loss=None, agreement=0.969), "look here",
         "gives the same answer as Keras for only 96.9%"),
        ({"test": {**GOOD["test"], "accuracy_low": 0.84, "examples": 40}}, "look here",
         "anywhere from 84.0% to 95.0%, because there are only 40 test images"),
        ({"test": {"accuracy": 1.0, "accuracy_low": 1.0, "accuracy_high": 1.0, "examples": 35}},
         "look here", "There are only 35 test images, on all of which the answers are alike"),
        ({"training_accuracy": 0.99, "validation_accuracy": 0.83}, "look here",
         "overfits: 99.0% on training images, 83.0% on validation images"),
    ],
)  # fmt: skip
def test_each_reason(changes, level, text):
    verdict = judge(CLASSIFICATION_RULES, CONFIG, _change(**changes))
    (reason,) = verdict.reasons
    assert verdict.level == level and text in reason.text
    assert str(verdict) == f"{level.capitalize()}. {reason.text}. {reason.advice}."


def test_a_file_that_could_not_be_repaired_is_not_diagnosed():
    worse = _file(agreement=0.9)
    advice = [
        judge(CLASSIFICATION_RULES, CONFIG, _change(**worse, repair=steps)).reasons[0].advice
        for steps in ([], [{"step": "Bias correction", "kept": False}])
    ]
    assert "diagnose" in advice[0] and "mixed=0.98" in advice[1]


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"augment": "none"}, "Augment the images (--augment light), start from pretrained weights "
         "(--weights imagenet), or add images"),
        ({"augment": "light", "weights": "imagenet"},
         "Augment the images more strongly (--augment strong), or add images"),
        ({"augment": "strong", "weights": "imagenet"}, "Add images"),
        ({"augment": "light", "task": "segment"},
         "Augment the images more strongly (--augment strong), or add images"),
    ],
)  # fmt: skip
def test_nothing_is_advised_that_was_done_already(changes, advice):
    overfitting = _change(training_accuracy=0.99, validation_accuracy=0.83)
    (reason,) = judge(CLASSIFICATION_RULES, {**CONFIG, **changes}, overfitting).reasons
    assert reason.advice == advice


def test_limits_themselves_are_fine():
    at_limit = _file(accuracy_loss=0.01, agreement=0.97) | {
        "test": {**GOOD["test"], "accuracy_low": 0.85, "accuracy_high": 0.95},
        "training_accuracy": 0.98, "validation_accuracy": 0.85,
    }  # fmt: skip
    assert judge(CLASSIFICATION_RULES, CONFIG, _change(**at_limit)).level == "good"


def test_the_most_serious_reason_is_first():
    few = {"data": {"train": 39, "classes": ["cat", "dog"]}}
    verdict = judge(CLASSIFICATION_RULES, few, _change(**_file(passed=False, cause="?")))
    assert [one.level for one in verdict.reasons] == ["do not use", "look here"]
    assert "only 19.5 training images per class" in verdict.reasons[1].text


def test_figures_that_were_not_measured_are_no_reasons():
    bare = {"test": {"accuracy": 0.9}, "files": [{"file": "model.float32.tflite"}]}
    assert judge(CLASSIFICATION_RULES, CONFIG, bare).level == "good"


class TestFloor:
    @staticmethod
    def data(side, seed=0):
        """Stripes across or down, of random phase and brightness."""
        rng = np.random.default_rng(seed)

        def part(n):
            y = np.arange(n) % 2
            waves = 100 + 80 * np.sin(np.arange(side) + rng.uniform(0, 6, (n, 1)))
            images = np.broadcast_to(waves[:, None, :], (n, side, side)).copy()
            images[y == 1] = images[y == 1].transpose(0, 2, 1)
            images += rng.normal(0, 10, images.shape)
            return images.clip(0, 255).astype("uint8")[..., None], y.astype("int32")

        return kd.data.Dataset.from_parts("stripes", part(60), part(10), part(30), ("a", "b"))

    @pytest.mark.parametrize(("side", "features"), [(16, "HOG"), (8, "pixels")])
    def test_methods_and_features(self, side, features):
        floor = measure_floor(self.data(side))
        assert set(floor) == {
            f"{features} and linear SVM", f"{features} and nearest neighbor",
            "most frequent class",
        }  # fmt: skip
        assert list(floor.values()) == sorted(floor.values(), reverse=True)
        assert floor["most frequent class"] == 0.5
        if features == "HOG":
            assert floor["HOG and linear SVM"] > 0.95

    def test_the_limit_draws_with_a_fixed_seed(self):
        data = self.data(16)
        assert measure_floor(data, limit=20) == measure_floor(data, limit=20)
