"""What the pages say about each task of this package, by its name in `config.json`."""

from __future__ import annotations

from keras_dlcourse.report.classification_page import CLASSIFICATION_PAGE
from keras_dlcourse.report.multilabel_page import MULTILABEL_PAGE
from keras_dlcourse.report.segmentation_page import SEGMENTATION_PAGE
from keras_dlcourse.report.task_page import TaskPage

PAGES: dict[str, TaskPage] = {
    "classify": CLASSIFICATION_PAGE,
    "multilabel": MULTILABEL_PAGE,
    "segment": SEGMENTATION_PAGE,
}
