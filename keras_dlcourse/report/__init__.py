"""Pictures of a run and the one HTML page that shows them.

Plain functions on arrays and dictionaries: nothing here needs a model or a backend.
"""

from __future__ import annotations

from keras_dlcourse._extras import require

require("keras_dlcourse.report", "tensorflow", "matplotlib")

from keras_dlcourse._tables import text_table  # noqa: E402
from keras_dlcourse.report.blocks import Code, Picture, Pictures, Table, Text  # noqa: E402
from keras_dlcourse.report.canvas import new_figure, png_bytes  # noqa: E402
from keras_dlcourse.report.class_means import draw_class_means  # noqa: E402
from keras_dlcourse.report.class_scores import ClassScores, class_scores  # noqa: E402
from keras_dlcourse.report.confusion import (  # noqa: E402
    confusion_counts,
    confusion_pairs,
    draw_confusion_matrix,
)
from keras_dlcourse.report.curves import draw_precision_recall, draw_roc  # noqa: E402
from keras_dlcourse.report.embedding_maps import draw_embedding_map  # noqa: E402
from keras_dlcourse.report.evaluation import (  # noqa: E402
    Evaluation,
    draw_evaluation,
    evaluation,
)
from keras_dlcourse.report.figures import (  # noqa: E402
    confident_mistakes,
    draw_learning_curve,
    draw_mistakes,
)
from keras_dlcourse.report.interval import Interval, confidence_interval  # noqa: E402
from keras_dlcourse.report.linear import (  # noqa: E402
    draw_boundary,
    draw_perceptron,
    draw_templates,
)
from keras_dlcourse.report.maps import draw_class_activation_maps  # noqa: E402
from keras_dlcourse.report.method_maps import draw_methods  # noqa: E402
from keras_dlcourse.report.neighbours import draw_neighbours  # noqa: E402
from keras_dlcourse.report.page import Section, render_page, write_page  # noqa: E402
from keras_dlcourse.report.patches import draw_patches  # noqa: E402
from keras_dlcourse.report.perception import draw_perception  # noqa: E402
from keras_dlcourse.report.reliability import (  # noqa: E402
    Reliability,
    draw_reliability,
    reliability,
)
from keras_dlcourse.report.run_page import write_run_page  # noqa: E402
from keras_dlcourse.report.selection import draw_selection  # noqa: E402
from keras_dlcourse.report.signals import draw_signals  # noqa: E402

__all__ = [
    "ClassScores",
    "Code",
    "Evaluation",
    "Interval",
    "Picture",
    "Pictures",
    "Reliability",
    "Section",
    "Table",
    "Text",
    "class_scores",
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
