"""The verdict on a run: good, look here or do not use, with the reasons and what to do next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

GOOD, LOOK, STOP = "good", "look here", "do not use"
_LEVELS = (GOOD, LOOK, STOP)

WIDEST_INTERVAL = 0.10  # of the accuracy, from the lower to the upper end
# Test images from which on that interval is narrower if all are right, where resampling gives one
# without any width: 0.025 ** (1 / 36) is 0.903.
FEWEST_ALIKE = 36
LARGEST_GAP = 0.15  # between the accuracies on training and validation images
FEWEST_IMAGES = 20  # per class, for training
LARGEST_LOSS = 0.01  # of accuracy, or mean IoU, in a quantized file
LEAST_AGREEMENT = 0.97  # of a quantized file with Keras


@dataclass(frozen=True)
class Reason:
    """Why a run is not simply good.

    Attributes:
        level: `"look here"` or `"do not use"`.
        text: What was found, as a sentence without a period. It begins with a capital letter or
            with a name, such as that of a file.
        advice: What to do, likewise.
    """

    level: str
    text: str
    advice: str

    def __str__(self) -> str:
        return f"{self.text}. {self.advice}."


@dataclass(frozen=True)
class Verdict:
    """The verdict on a run.

    Attributes:
        reasons: Why it is not simply good, the most serious first.
    """

    reasons: tuple[Reason, ...] = ()

    @property
    def level(self) -> str:
        """`"good"`, `"look here"` or `"do not use"`."""
        return max((reason.level for reason in self.reasons), key=_LEVELS.index, default=GOOD)

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON-serializable values."""
        return {
            "level": self.level,
            "text": str(self),
            "reasons": [{"text": one.text, "advice": one.advice} for one in self.reasons],
        }

    def __str__(self) -> str:
        return " ".join([f"{self.level[0].upper()}{self.level[1:]}.", *map(str, self.reasons)])


Rule = Callable[[Mapping[str, Any], Mapping[str, Any]], Reason | None]


def judge(
    rules: tuple[Rule, ...], config: Mapping[str, Any], results: Mapping[str, Any]
) -> Verdict:
    """Return the verdict of some rules on a run.

    Args:
        rules: Each returns a reason, or None if it has nothing to object to.
        config: The content of `config.json`.
        results: The content of `results.json`.
    """
    found = [reason for rule in rules if (reason := rule(config, results)) is not None]
    return Verdict(tuple(sorted(found, key=lambda reason: -_LEVELS.index(reason.level))))


def check_files(config: Mapping[str, Any], results: Mapping[str, Any]) -> Reason | None:
    """Object to files that do not agree with Keras."""
    wrong = [file for file in results["files"] if file.get("passed") is False]
    if not wrong:
        return None
    causes = ", ".join(
        f"{file['file']} does not agree with Keras: {file['cause']}" for file in wrong
    )
    return Reason(STOP, causes, "Use another file, or repair it as docs/quantization.md describes")


def check_loss(config: Mapping[str, Any], results: Mapping[str, Any]) -> Reason | None:
    """Object to a quantized file that is clearly worse than Keras."""
    for file in results["files"]:
        agreement = file.get("agreement")
        if (loss := find_loss(file)) is not None:
            text = f"{file['file']} loses {loss}"
        elif agreement is not None and agreement < LEAST_AGREEMENT:
            text = f"{file['file']} gives the same answer as Keras for only {agreement:.1%}"
        else:
            continue
        return Reason(LOOK, text, _REPAIRED if results.get("repair") else _DIAGNOSE)
    return None


# Figures of a file that must not be above the limit, and what they are lost of.
LOSSES = {"accuracy_loss": "accuracy", "iou_loss": "mean IoU"}


def find_loss(figures: Mapping[str, float | None]) -> str | None:
    """Return the largest loss of a file that is more than is allowed, None if there is none.

    Example:
        >>> find_loss({"accuracy_loss": 0.004, "iou_loss": 0.025})
        '2.5 points of mean IoU'
    """
    found = [(figures.get(name) or 0.0, noun) for name, noun in LOSSES.items()]
    loss, noun = max(found)
    return f"{100 * loss:.1f} points of {noun}" if loss > LARGEST_LOSS else None


_DIAGNOSE = "See which layers lose it: kd.quantize.diagnose"
_REPAIRED = (
    "The run could not repair that: use model.float32.tflite, or leave some layers in float with "
    "kd.quantize.after_training(mixed=0.98)"
)


@dataclass(frozen=True)
class Measure:
    """What a run is judged by.

    Attributes:
        metric: Its name in `results.json`.
        name: Its name in sentences.
        form: How its values are written.
    """

    metric: str
    name: str
    form: str


ACCURACY = Measure("accuracy", "accuracy", "{:.1%}")
MEAN_PRECISION = Measure("mean_average_precision", "mean average precision", "{:.3f}")
MEAN_IOU = Measure("mean_iou", "mean IoU", "{:.3f}")


def floor_rule(measure: Measure) -> Rule:
    """Return the rule that objects to a network that is not better than one without a network."""

    def check(config: Mapping[str, Any], results: Mapping[str, Any]) -> Reason | None:
        floor = results.get("floor")
        if not floor:
            return None
        name, least = max(floor.items(), key=lambda item: item[1])
        value = results["test"][measure.metric]
        if value > least or value == 1:  # nothing is better than all right
            return None
        reached, own = map(measure.form.format, (least, value))
        return Reason(
            STOP,
            f"{name} on the same images reaches {reached}, the network {own}",
            _advise(config, "train for longer"),
        )

    return check


# What can still be done against overfitting, by the level of augmentation that a run had.
_AUGMENT = {
    "none": ["augment the images (--augment light)"],
    "light": ["augment the images more strongly (--augment strong)"],
}


def _advise(config: Mapping[str, Any], *first: str) -> str:
    """Return what can be done for a network that has learned too little from its images."""
    steps = list(first)
    if config.get("weights", "none") == "none" and config.get("task") != "segment":
        steps.append("start from pretrained weights (--weights imagenet)")
    steps.append("add images")
    text = ", or ".join(filter(None, [", ".join(steps[:-1]), steps[-1]]))
    return text[0].upper() + text[1:]


def interval_rule(measure: Measure) -> Rule:
    """Return the rule that objects to a test part that is too small to tell how good it is."""

    def check(config: Mapping[str, Any], results: Mapping[str, Any]) -> Reason | None:
        test = results["test"]
        low, high = (test.get(f"{measure.metric}_{end}") for end in ("low", "high"))
        if low is None or high is None:
            return None
        if low == high and test["examples"] < FEWEST_ALIKE:
            return Reason(
                LOOK,
                f"There are only {test['examples']:,} test images, on all of which the answers are "
                "alike, so that they do not tell how good it is",
                "Add images",
            )
        if high - low <= WIDEST_INTERVAL:
            return None
        ends = " to ".join(map(measure.form.format, (low, high)))
        return Reason(
            LOOK,
            f"The {measure.name} may be anywhere from {ends}, because there are only "
            f"{test['examples']:,} test images",
            "Add images",
        )

    return check


def gap_rule(measure: Measure) -> Rule:
    """Return the rule that objects to a network that knows its training images by heart."""

    def check(config: Mapping[str, Any], results: Mapping[str, Any]) -> Reason | None:
        training, validation = (
            results.get(f"{part}_{measure.metric}") for part in ("training", "validation")
        )
        if training is None or validation is None or training - validation <= LARGEST_GAP:
            return None
        on_training, on_validation = map(measure.form.format, (training, validation))
        return Reason(
            LOOK,
            f"The network overfits: {on_training} on training images, {on_validation} on "
            "validation images",
            _advise(config, *_AUGMENT.get(config.get("augment", "strong"), [])),
        )

    return check


def check_images(config: Mapping[str, Any], results: Mapping[str, Any]) -> Reason | None:
    """Object to too few training images."""
    data = config["data"]
    per_class = data["train"] / len(data["classes"])
    if per_class >= FEWEST_IMAGES:
        return None
    return Reason(
        LOOK,
        f"There are only {per_class:.3g} training images per class",
        f"Add images, at least {FEWEST_IMAGES} per class",
    )


def check_label_images(config: Mapping[str, Any], results: Mapping[str, Any]) -> Reason | None:
    """Object to labels that too few training images have."""
    names, counts = config["data"]["classes"], config["data"]["images_per_label"]
    few = [
        f"{name} ({count})"
        for name, count in zip(names, counts, strict=True)
        if count < FEWEST_IMAGES
    ]
    if not few:
        return None
    return Reason(
        LOOK,
        f"Fewer than {FEWEST_IMAGES} training images have these labels: {', '.join(few)}",
        f"Add images, at least {FEWEST_IMAGES} with each label",
    )


def check_recognized(config: Mapping[str, Any], results: Mapping[str, Any]) -> Reason | None:
    """Object to labels that were never recognized."""
    never = [
        name for name, recall, images in _list_labels(config, results) if images and not recall
    ]
    if not never:
        return None
    return Reason(
        LOOK,
        f"These labels were not recognized in any test image: {', '.join(never)}",
        "Add images with them",
    )


def check_tested(config: Mapping[str, Any], results: Mapping[str, Any]) -> Reason | None:
    """Object to labels that no test image has."""
    missing = [name for name, _, images in _list_labels(config, results) if not images]
    if not missing:
        return None
    return Reason(
        LOOK,
        f"No test image has these labels, so nothing is known about them: {', '.join(missing)}",
        "Add test images with them",
    )


def check_class_images(config: Mapping[str, Any], results: Mapping[str, Any]) -> Reason | None:
    """Object to classes that too few training masks show."""
    names, counts = config["data"]["classes"], config["data"]["images_per_class"]
    few = [
        f"{name} ({count})"
        for name, count in zip(names, counts, strict=True)
        if count < FEWEST_IMAGES
    ]
    if not few:
        return None
    return Reason(
        LOOK,
        f"Fewer than {FEWEST_IMAGES} training images show these classes: {', '.join(few)}",
        f"Add images, at least {FEWEST_IMAGES} with each class",
    )


def check_classes_found(config: Mapping[str, Any], results: Mapping[str, Any]) -> Reason | None:
    """Object to classes of which not a single pixel was found."""
    never = [name for name, accuracy, _ in _list_classes(config, results) if accuracy == 0]
    if not never:
        return None
    return Reason(
        LOOK,
        f"No pixel of these classes was found in any test image: {', '.join(never)}",
        "Train for longer, or add images that show them",
    )


def check_classes_tested(config: Mapping[str, Any], results: Mapping[str, Any]) -> Reason | None:
    """Object to classes that no test mask shows."""
    missing = [name for name, _, images in _list_classes(config, results) if not images]
    if not missing:
        return None
    return Reason(
        LOOK,
        f"No test image shows these classes, so nothing is known about them: {', '.join(missing)}",
        "Add test images that show them",
    )


def _list_classes(
    config: Mapping[str, Any], results: Mapping[str, Any]
) -> list[tuple[str, float | None, int]]:
    """Return the name, the accuracy and the number of test images of each class."""
    classes = results["classes"]
    return list(zip(config["data"]["classes"], classes["accuracy"], classes["images"], strict=True))


def _list_labels(
    config: Mapping[str, Any], results: Mapping[str, Any]
) -> list[tuple[str, float | None, int]]:
    """Return the name, the recall and the number of test images of each label."""
    labels = results["labels"]
    return list(zip(config["data"]["classes"], labels["recall"], labels["images"], strict=True))


CLASSIFICATION_RULES: tuple[Rule, ...] = (
    check_files,
    floor_rule(ACCURACY),
    check_loss,
    interval_rule(ACCURACY),
    check_images,
    gap_rule(ACCURACY),
)
MULTILABEL_RULES: tuple[Rule, ...] = (
    check_files,
    floor_rule(MEAN_PRECISION),
    check_recognized,
    check_tested,
    check_loss,
    interval_rule(MEAN_PRECISION),
    check_label_images,
    gap_rule(MEAN_PRECISION),
)
SEGMENTATION_RULES: tuple[Rule, ...] = (
    check_files,
    floor_rule(MEAN_IOU),
    check_classes_found,
    check_classes_tested,
    check_loss,
    interval_rule(MEAN_IOU),
    check_class_images,
    gap_rule(MEAN_IOU),
)
