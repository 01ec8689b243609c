"""How the detector of objects chooses among boxes that overlap."""

from __future__ import annotations

from dataclasses import dataclass

from keras_dlcourse._checks import check_flag, check_integer, check_number


@dataclass(frozen=True)
class NonMaxSuppression:
    """How a detector chooses boxes: those with the highest scores that overlap no better one.

    Each box has one class, that with its highest score.

    Args:
        iou_threshold: A box is dropped if its intersection over union with a better one is higher.
        score_threshold: Boxes with lower scores are dropped.
        max_results: The maximum number of boxes.
        class_agnostic: Whether boxes also compete with those of other classes, as they do in
            MediaPipe if the file has no suppression inside.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If it is out of range.

    Example:
        >>> NonMaxSuppression(max_results=300)
        NonMaxSuppression(iou_threshold=0.5, score_threshold=0.05, max_results=300, class_agnostic=False)
    """  # noqa: E501

    iou_threshold: float = 0.5
    score_threshold: float = 0.05
    max_results: int = 100
    class_agnostic: bool = False

    def __post_init__(self) -> None:
        check_number("iou_threshold", self.iou_threshold, least=0, most=1)
        check_number("score_threshold", self.score_threshold, least=0, most=1)
        check_integer("max_results", self.max_results)
        check_flag("class_agnostic", self.class_agnostic)
