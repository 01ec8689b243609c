"""What a task, such as classification, adds to the page of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_dlcourse.report.blocks import Block, Code, Picture, Text
from keras_dlcourse.report.page import Section

Shown = bytes | Sequence[Picture] | None  # a PNG file, or pictures with their own captions
Row = tuple[str, str]  # heading and value in the summary; without a value, it is omitted


def describe_device(file: str, command: str = "", code: str = "") -> list[Block]:
    """Return what to do on a device with a file.

    Args:
        file: Name of the `.tflite` file.
        command: The command that runs it on an example, if there is one.
        code: The same in Python.

    Example:
        >>> print(describe_device("model.tflite")[1].text)
        pip install 'keras-dlcourse[edge]'
        keras-dlcourse benchmark model.tflite
    """
    install, benchmark = "pip install 'keras-dlcourse[edge]'", f"keras-dlcourse benchmark {file}"
    blocks: list[Block] = [
        Text("On a Raspberry Pi or another Linux machine, without TensorFlow or Keras:"),
        Code("\n".join(line for line in (install, command, benchmark) if line)),
    ]
    return [*blocks, Text("In Python:"), Code(code)] if code else blocks


@dataclass(frozen=True)
class TaskPage:
    """What a task adds to the page of a run.

    Attributes:
        metric: The metric whose validation value decides which epoch's weights are kept. It is
            shown in the summary and drawn next to the loss.
        figures: Returns rows of the summary, from `results["test"]`.
        sections: Returns sections between the learning curves and the exported files, from the
            content of `config.json` and `results.json`, and the pictures by name. Sections without
            blocks are omitted.
        metric_form: Format of the metric.
        details: Returns rows of the summary, from what `config.json` records about the data.
        pictures: The names of the pictures that `sections` shows.
        example: What one example is called. With an "s", it is what several are called.
        file_rows: Rows of the table of exported files: heading, figure of `verify`, and format.
        file_note: A sentence below that table.
        device: Returns the instructions for a device, from the name of the file.
        use: Returns what the model is for, from what `config.json` records about the data.
        limits: Returns what it cannot do, one sentence each, from the content of `config.json` and
            `results.json`.
        tag: The task's name in Hugging Face's model cards (`pipeline_tag`), if it has one.

    Example:
        >>> page = TaskPage("mae", lambda test: [("Test error", f"{test['mae']:.2f}")],
        ...                 lambda config, results, pictures: [])
        >>> page.figures({"mae": 0.125})
        [('Test error', '0.12')]
    """

    metric: str
    figures: Callable[[Mapping[str, Any]], list[Row]]
    sections: Callable[[Mapping[str, Any], Mapping[str, Any], Mapping[str, Shown]], list[Section]]
    metric_form: str = "{:.3g}"
    details: Callable[[Mapping[str, Any]], list[Row]] = lambda data: []
    pictures: tuple[str, ...] = ()
    example: str = "image"
    file_rows: tuple[tuple[str, str, str], ...] = (
        ("largest difference", "max_error", "{:.2g}"),
        ("mean difference", "mean_error", "{:.2g}"),
        ("largest difference in steps", "max_error_steps", "{:.1f}"),
    )
    file_note: str = ""
    device: Callable[[str], list[Block]] = describe_device
    use: Callable[[Mapping[str, Any]], str] = lambda data: f"Made for inputs like {data['name']}."
    limits: Callable[[Mapping[str, Any], Mapping[str, Any]], list[str]] = lambda config, results: []
    tag: str = ""
