"""Limits of the differences between Keras and a file, and which of them are not met."""

from __future__ import annotations

from collections.abc import Mapping

from keras_dlcourse._checks import check_number
from keras_dlcourse.export.outputs.kind import Figures

# Default limits for fractions allow for random error: of files exactly at the limit, one in a
# hundred fails (2.33 standard errors of a normal distribution).
_CHANCE = 2.33

# Each limit with its figure, and 1 if the limit is a maximum, -1 if it is a minimum.
LIMITS = {
    "max_error": ("max_error", 1),
    "max_error_steps": ("max_error_steps", 1),
    "max_relative_error": ("max_relative_error", 1),
    "max_mean_relative_error": ("mean_relative_error", 1),
    "min_agreement": ("agreement", -1),
    "min_class_agreement": ("class_agreement", -1),
    "max_accuracy_loss": ("accuracy_loss", 1),
    "min_mask_iou": ("mask_iou", -1),
    "max_iou_loss": ("iou_loss", 1),
    "min_matched": ("matched", -1),
    "min_box_iou": ("box_iou", -1),
    "min_cosine": ("min_cosine", -1),
    "min_mean_cosine": ("mean_cosine", -1),
}


def check_limits(limits: Mapping[str, float | None], figures: Figures) -> None:
    """Raise an error for an unknown limit, one that is no number, or one without a figure."""
    if strange := sorted(set(limits) - set(LIMITS)):
        raise ValueError(f"limits must be some of {', '.join(LIMITS)}. Received: {strange}")
    for name, limit in limits.items():
        if limit is None:
            continue
        check_number(name, limit)
        if LIMITS[name][0] not in figures.values:
            raise ValueError(f"{name} cannot be checked: not measurable for this data and file")


def find_missed_limits(
    figures: Figures, defaults: Mapping[str, float], given: Mapping[str, float | None]
) -> tuple[str, ...]:
    """Return each limit that is not met, with the measured value.

    Args:
        figures: The measured figures; limits for other figures are skipped.
        defaults: The default limits, which allow for random error.
        given: Limits that replace these, applied exactly; None for no limit.
    """
    found = []
    limits: dict[str, float | None] = {**defaults, **given}
    for name, limit in limits.items():
        figure, sign = LIMITS[name]
        value = figures.values.get(figure)
        if limit is None or value is None:
            continue
        allowed = 0.0 if name in given else _CHANCE * figures.chance.get(figure, 0.0)
        if not sign * value <= sign * limit + allowed:  # which NaN is not
            chance = f" ({allowed:.3g} allowed for random error)" if allowed else ""
            found.append(f"{name}={limit:g}{chance}, measured {value:.6g}")
    return tuple(found)
