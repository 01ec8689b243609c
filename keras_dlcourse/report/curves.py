"""Curves over all thresholds: the ROC curve, and precision against recall."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from keras_dlcourse.report.canvas import GREY, STYLES, new_figure, shorten, style_axes
from keras_dlcourse.report.one_vs_rest import Question, check_names, one_vs_rest


@dataclass(frozen=True)
class Kind:
    """A kind of curve of one class against the rest.

    Attributes:
        x: Label of the x axis.
        y: Label of the y axis.
        area: Name of the area under the curve.
        curve: Computes x and y from the question.
        measure: Computes the area from the question.
        point: Computes x and y at a threshold from true positives, false positives, positives and
            negatives.
        drawing: The matplotlib draw style of the line.
        defined: Whether the curve is defined, given the number of positives and negatives.
    """

    x: str
    y: str
    area: str
    curve: Callable[..., tuple[NDArray, NDArray]]
    measure: Callable[..., float]
    point: Callable[[int, int, int, int], tuple[float, float]]
    drawing: str
    defined: Callable[[int, int], bool]


def _roc(is_it: NDArray, score: NDArray) -> tuple[NDArray, NDArray]:
    from sklearn.metrics import roc_curve

    return roc_curve(is_it, score)[:2]


def _roc_area(is_it: NDArray, score: NDArray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(is_it, score))


def _precision_recall(is_it: NDArray, score: NDArray) -> tuple[NDArray, NDArray]:
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(is_it, score, drop_intermediate=True)
    return recall, precision


def _average_precision(is_it: NDArray, score: NDArray) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(is_it, score))


ROC = Kind(
    x="false positive rate",
    y="true positive rate",
    area="area",
    curve=_roc,
    measure=_roc_area,
    point=lambda tp, fp, positives, negatives: (fp / negatives, tp / positives),
    drawing="default",
    defined=lambda positives, negatives: positives > 0 and negatives > 0,
)
PRECISION_RECALL = Kind(
    x="recall",
    y="precision",
    area="average precision",
    curve=_precision_recall,
    measure=_average_precision,
    point=lambda tp, fp, positives, _: (tp / positives, tp / (tp + fp) if tp + fp else 1.0),
    drawing="steps-post",
    defined=lambda positives, negatives: positives > 0,
)


def draw_roc(
    labels: ArrayLike,
    scores: ArrayLike,
    class_names: Sequence[str] | None = None,
    thresholds: ArrayLike | None = None,
) -> Figure:
    """Draw the ROC curve: the true positive rate against the false positive rate.

    With several classes, each has its own curve against the rest; with more than four, the curves
    with the smallest areas are colored and the others are pale. The area is the probability that an
    example of the class has a higher score than one of the rest.

    Args:
        labels: Class indices `(n,)`; 1 and 0 for scores of a single class; or `(n, classes)` of 1
            and 0 for multi-label data, where NaN or values below 0 mean unknown.
        scores: `(n, classes)`; or `(n,)` or `(n, 1)` for a single class that is present or not.
            Both logits and probabilities are accepted.
        class_names: A name for each column of scores.
        thresholds: One threshold, or one per class, e.g. from `kd.training.threshold_for`; the
            operating points are marked. Scores at or above the threshold count as the class.

    Returns:
        The figure.

    Raises:
        ValueError: If shapes, labels, names or thresholds do not match, or no class has both
            positive and negative examples.

    Example:
        >>> figure = draw_roc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], thresholds=0.3)
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['area 0.750', 'threshold 0.3: 100.0% at 50.0%', 'chance']

    Reference:
        Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27, 2006,
        https://doi.org/10.1016/j.patrec.2005.10.010
    """
    return _draw(ROC, labels, scores, class_names, thresholds)


def draw_precision_recall(
    labels: ArrayLike,
    scores: ArrayLike,
    class_names: Sequence[str] | None = None,
    thresholds: ArrayLike | None = None,
) -> Figure:
    """Draw precision against recall; for rare classes this is less flattering than a ROC curve.

    The area is average precision: sum over thresholds of (recall_k - recall_(k-1)) * precision_k.

    Args:
        labels: As in `draw_roc`.
        scores: As in `draw_roc`.
        class_names: A name for each column of scores.
        thresholds: As in `draw_roc`.

    Returns:
        The figure.

    Raises:
        ValueError: If shapes, labels, names or thresholds do not match, or no class has examples.

    Example:
        >>> figure = draw_precision_recall([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['average precision 0.833']

    Reference:
        Davis and Goadrich, "The relationship between Precision-Recall and ROC curves", ICML 2006,
        https://doi.org/10.1145/1143844.1143874
    """
    return _draw(PRECISION_RECALL, labels, scores, class_names, thresholds)


def areas(kind: Kind, questions: Sequence[Question]) -> NDArray[np.float64]:
    """Return the area under the curve of each class; NaN if the curve is undefined."""
    return np.array([kind.measure(*one) if _has_curve(kind, one) else np.nan for one in questions])


def _draw(
    kind: Kind, labels: ArrayLike, scores: ArrayLike, class_names: Any, thresholds: Any
) -> Figure:
    questions = one_vs_rest(labels, scores)
    figure = new_figure(5.0, 5.0)
    draw_on(figure.subplots(), kind, questions, areas(kind, questions), class_names, thresholds)
    return figure


def draw_on(
    axes: Axes,
    kind: Kind,
    questions: Sequence[Question],
    found: NDArray[np.float64],
    class_names: Sequence[str] | None,
    thresholds: ArrayLike | None = None,
) -> None:
    """Draw the curves of all classes, given their areas `found`, into axes; see `draw_roc`."""
    names = check_names(class_names, len(questions))
    least = _check_thresholds(thresholds, len(questions))
    order = [int(number) for number in np.argsort(found, kind="stable") if found[number] >= 0]
    if not order:
        raise ValueError(
            "labels must contain both positive and negative examples of at least one class to draw "
            "a curve."
        )
    coloured, pale = sorted(order[: len(STYLES)]), order[len(STYLES) :]
    for number in pale:
        axes.plot(*kind.curve(*questions[number]), c=GREY, lw=1, alpha=0.4, drawstyle=kind.drawing)
    for number, (color, marker, style) in zip(coloured, STYLES, strict=False):
        name = f"{shorten(names[number])}: " if names[number] else ""
        label = f"{name}{kind.area} {found[number]:.3f}"
        line = {"color": color, "ls": style, "lw": 1.8, "drawstyle": kind.drawing}
        axes.plot(*kind.curve(*questions[number]), label=label, **line)
        if least is not None:
            x, y = operating_point(kind, questions[number], least[number])
            label = f"threshold {least[number]:.3g}: {y:.1%} at {x:.1%}"
            axes.scatter(x, y, s=60, color=color, marker=marker, ec="black", zorder=3, label=label)
    if pale:
        label = f"{len(pale)} more classes, {found[pale].min():.3f} or higher"
        axes.plot([], [], c=GREY, lw=1, alpha=0.4, label=label)
    if kind is ROC:
        axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="chance")
    axes.set_xlabel(kind.x, fontsize=12)
    axes.set_ylabel(kind.y, fontsize=12)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    style_axes(axes)
    axes.legend(frameon=False, fontsize=10, loc="lower right" if kind is ROC else "lower left")


def operating_point(kind: Kind, question: Question, least: float) -> tuple[float, float]:
    """Return x and y of the curve when all scores of at least `least` count as the class."""
    is_it, score = question
    counts = score >= least
    true, positives = int((is_it & counts).sum()), int(is_it.sum())
    return kind.point(true, int(counts.sum()) - true, positives, len(is_it) - positives)


def _has_curve(kind: Kind, question: Question) -> bool:
    positives = int(question[0].sum())
    return kind.defined(positives, len(question[0]) - positives)


def _check_thresholds(given: ArrayLike | None, classes: int) -> NDArray[np.float64] | None:
    if given is None:
        return None
    values = np.asarray(given, float)
    if values.shape not in ((), (classes,)) or np.isnan(values).any():
        raise ValueError(
            f"thresholds must be one number, or one for each of {classes} classes. Received: "
            f"{given!r}"
        )
    return np.broadcast_to(values, (classes,))
