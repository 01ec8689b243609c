"""Plots of a training run, and a single HTML page that shows them.

These are plain functions of arrays and dictionaries; none needs a model or a backend.
"""

from __future__ import annotations

from keras_dlcourse._extras import require

require("keras_dlcourse.report", "tensorflow", "matplotlib")

from keras_dlcourse._tables import text_table
from keras_dlcourse.data.interval import Interval, confidence_interval
from keras_dlcourse.report.blocks import (
    Bullets,
    Code,
    Details,
    Link,
    Notice,
    Picture,
    Pictures,
    Table,
    Text,
)
from keras_dlcourse.report.canvas import new_figure, png_bytes
from keras_dlcourse.report.chart import Chart, Line
from keras_dlcourse.report.class_means import draw_class_means
from keras_dlcourse.report.class_scores import ClassScores, class_scores
from keras_dlcourse.report.compare_page import Comparison, compare_runs
from keras_dlcourse.report.confusion import (
    confusion_counts,
    confusion_pairs,
    draw_confusion_matrix,
)
from keras_dlcourse.report.curves import draw_precision_recall, draw_roc
from keras_dlcourse.report.embedding_maps import draw_embedding_map
from keras_dlcourse.report.evaluation import (
    Evaluation,
    draw_evaluation,
    evaluation,
)
from keras_dlcourse.report.figures import (
    confident_mistakes,
    draw_learning_curve,
    draw_mistakes,
)
from keras_dlcourse.report.linear import (
    draw_boundary,
    draw_perceptron,
    draw_templates,
)
from keras_dlcourse.report.maps import draw_class_activation_maps
from keras_dlcourse.report.method_maps import draw_methods
from keras_dlcourse.report.neighbours import draw_neighbours
from keras_dlcourse.report.page import Section, render_page, write_page
from keras_dlcourse.report.patches import draw_patches
from keras_dlcourse.report.perception import draw_perception
from keras_dlcourse.report.reliability import (
    Reliability,
    draw_reliability,
    reliability,
)
from keras_dlcourse.report.run_page import write_run_page
from keras_dlcourse.report.selection import draw_selection
from keras_dlcourse.report.signals import draw_signals
from keras_dlcourse.report.task_page import TaskPage

__all__ = [
    "Bullets",
    "Chart",
    "ClassScores",
    "Code",
    "Comparison",
    "Details",
    "Evaluation",
    "Interval",
    "Line",
    "Link",
    "Notice",
    "Picture",
    "Pictures",
    "Reliability",
    "Section",
    "Table",
    "TaskPage",
    "Text",
    "class_scores",
    "compare_runs",
    "confidence_interval",
    "confident_mistakes",
    "confusion_counts",
    "confusion_pairs",
    "draw_boundary",
    "draw_class_activation_maps",
    "draw_class_means",
    "draw_confusion_matrix",
    "draw_embedding_map",
    "draw_evaluation",
    "draw_learning_curve",
    "draw_methods",
    "draw_mistakes",
    "draw_neighbours",
    "draw_patches",
    "draw_perception",
    "draw_perceptron",
    "draw_precision_recall",
    "draw_reliability",
    "draw_roc",
    "draw_selection",
    "draw_signals",
    "draw_templates",
    "evaluation",
    "new_figure",
    "png_bytes",
    "reliability",
    "render_page",
    "text_table",
    "write_page",
    "write_run_page",
]
