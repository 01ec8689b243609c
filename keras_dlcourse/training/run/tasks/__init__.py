"""The tasks that a run can train for, one module per task."""

from keras_dlcourse._checks import check_one_of
from keras_dlcourse.training.run.task import Task
from keras_dlcourse.training.run.tasks.classification import CLASSIFICATION
from keras_dlcourse.training.run.tasks.multilabel import MULTILABEL
from keras_dlcourse.training.run.tasks.segmentation import SEGMENTATION

TASKS: dict[str, Task] = {task.name: task for task in (CLASSIFICATION, MULTILABEL, SEGMENTATION)}
"""The tasks by name."""


def find_task(name: str) -> Task:
    """Return the task called `name`.

    Raises:
        TypeError: If it is not a string.
        ValueError: If there is none.

    Example:
        >>> find_task("classify").metric
        'accuracy'
    """
    return TASKS[check_one_of("task", name, tuple(TASKS))]


__all__ = ["TASKS", "find_task"]
