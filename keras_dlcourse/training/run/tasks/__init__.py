"""The tasks that a run can train for, one module per task."""

from keras_dlcourse.training.run.task import Task
from keras_dlcourse.training.run.tasks.classification import CLASSIFICATION

TASKS: dict[str, Task] = {task.name: task for task in (CLASSIFICATION,)}
"""The tasks by name."""


def find_task(name: str) -> Task:
    """Return the task called `name`.

    Raises:
        ValueError: If there is none.

    Example:
        >>> find_task("classify").metric
        'accuracy'
    """
    if name not in TASKS:
        raise ValueError(f"task must be one of: {', '.join(TASKS)}. Received: {name!r}")
    return TASKS[name]


__all__ = ["TASKS", "find_task"]
