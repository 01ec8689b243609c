"""The model card says what the page says, in Markdown that means the same."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_dlcourse import report
from keras_dlcourse.report.blocks import escape_markdown
from keras_dlcourse.report.model_card import render_card

CONFIG = {
    "model": "mobilenet_v2",
    "learning_rate": 0.002,
    "command": "keras-dlcourse train photos/ -o run",
    "machine": {"processor": "Quick 9"},
    "data": {"name": "fruit", "classes": ["red|green", "_blue_"], "train": 40, "test": 20},
}
RESULTS = {
    "interrupted": False,
    "epochs": 1,
    "test": {"examples": 20, "accuracy": 0.85, "calibration_error": 0.071},
    "confusion_matrix": [[9, 1], [2, 8]],
    "floor": {"HOG and linear SVM": 0.9},
    "files": [
        {"file": "model.keras", "quantization": "Keras", "accuracy": 0.85},
        {"file": "model.int8.tflite", "quantization": "int8", "accuracy": 0.8},
    ],
    "verdict": {
        "level": "do not use",
        "reasons": [{"text": "the floor is at 90%", "advice": "Add images"}],
    },
}


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    (folder / "model.int8.tflite").touch()
    report.write_run_page(folder / "report.html", CONFIG, {"loss": [0.5]}, RESULTS)
    return (folder / "model_card.md").read_text(encoding="utf-8")


def chapter(card, heading):
    """Return the text below a heading."""
    return re.split(r"^## ", card.split(f"\n## {heading}\n")[1], flags=re.M)[0]


def test_card_has_the_sections_of_hugging_face(card):
    _, head, body = card.split("---\n", 2)
    tags = dict(line.split(": ") for line in head.splitlines())
    assert {name: json.loads(value) for name, value in tags.items()} == {
        "library_name": "keras",
        "pipeline_tag": "image-classification",
    }
    assert body.startswith("\n# mobilenet_v2 on fruit\n")
    assert re.findall(r"^## (.*)$", card, re.M) == [
        "Model description",
        "Intended use",
        "Limits",
        "Data",
        "Training",
        "Evaluation",
        "How to use",
        "Files",
    ]


def test_each_section_has_its_facts(card):
    facts = {
        "Model description": ("**✗ Do not use**", "> - The floor is at 90%. Add images.", "85.0%"),
        "Intended use": ("which of 2 classes an image shows",),
        "Limits": (
            "- The floor is at 90%.",
            "- It is weakest at \\_blue\\_: 80% of 10",
            "7.1 points off",
        ),
        "Data": ("| name | fruit |", "red\\|green, \\_blue\\_ |"),
        "Training": (
            "\n    keras-dlcourse train photos/ -o run\n",
            "| learning rate | 0.002 |",
            "| processor | Quick 9 |",
        ),
        "Evaluation": ("| HOG and linear SVM | 90.0% |", "| accuracy on test images | 85.0% |"),
        "How to use": ("\n    keras-dlcourse classify model.int8.tflite IMAGE.jpg\n",),
        "Files": ("| [model.int8.tflite](./model.int8.tflite) | the int8 file",),
    }
    for heading, texts in facts.items():
        for text in texts:
            assert text in chapter(card, heading), (heading, text)
    # What explains a figure is on the page, with the figure.
    assert "Learning curves" not in card
    assert "Class activation maps" not in card


def test_all_rows_of_a_table_have_as_many_cells(card):
    for table in re.findall(r"(?:^\|.*\|\n)+", card, re.M):
        bars = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
        assert len(bars) == 1, table


@given(st.text(max_size=40))
def test_any_text_stays_on_its_line_and_in_its_cell(text):
    assert len(escape_markdown(text).splitlines()) <= 1
    row = report.Table("t", ["a", "b"], [[text, text]]).markdown().splitlines()[-1]
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 3
    assert escape_markdown(text).replace("\\", "").split() == text.replace("\\", "").split()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("learning_rate", "learning_rate"),
        ("_private_", r"\_private\_"),
        ("# 1", r"\# 1"),
        ("1. first", r"1\. first"),
        ("85.0% of 20", "85.0% of 20"),
        ("-1", r"\-1"),
        ("[a](b) <i> `c` $5 & ~", r"\[a\](b) \<i\> \`c\` \$5 \& \~"),
        ("two\nlines", "two lines"),
    ],
)
def test_markup_is_escaped_and_other_text_is_left(text, expected):
    assert escape_markdown(text) == expected


def test_empty_tags_and_sections_are_left_out():
    sections = [report.Section("Pictures", [report.Pictures([])])]
    card = render_card("t", {"library_name": "keras", "pipeline_tag": ""}, {"Figures": sections})
    assert "pipeline_tag" not in card
    assert "Figures" not in card
