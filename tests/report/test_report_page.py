"""The page stands alone, and no text of a user becomes HTML."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_dlcourse import report

VOID = {"meta", "img", "br"}
NASTY = '<b onload="x()">&amp;\'"</b>'


class Page(HTMLParser):
    """Collect tags, texts and ids, and check that tags are closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags, self.open, self.texts, self.ids = [], [], [], []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids.extend(value for name, value in attributes if name == "id")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


CONFIG = {
    "model": "mobilenet_v2",
    "alpha": 0.35,
    "epochs": 3,
    "input_shape": [28, 28, 1],
    "parameters": 1234567,
    "started": "2026-01-01 10:00",
    "versions": {"keras": "3.15.1"},
    "data": {"name": NASTY, "classes": [NASTY, "dog"], "train": 1000, "validation": 10, "test": 20},
}
HISTORY = {"loss": [2.0, 1.0, 0.5], "val_loss": [2.0, 1.5, 1.25], "accuracy": [0.1, 0.2, 0.3]}
RESULTS = {
    "interrupted": False,
    "epochs": 3,
    "best_epoch": 2,
    "validation_accuracy": 0.9,
    "test": {
        "examples": 20,
        "accuracy": 0.85,
        "accuracy_low": 0.7,
        "accuracy_high": 0.951,
        "accuracy_level": 0.95,
        "area": 0.9127,
        "calibration_error": None,
    },
    "confusion_matrix": [[9, 1], [2, 8]],
    "seconds": {"training": 125.2},
    "files": [
        {"file": "model.keras", "bytes": 3_000_000, "accuracy": 0.85},
        {
            "file": "model.int8.tflite",
            "quantization": "int8",
            "bytes": 712_345,
            "accuracy": 0.8412,
            "agreement": 0.9833,
            "max_error": 0.0123,
            "mean_error": 0.001,
            "max_error_steps": 3.0,
            "latency_ms": 0.25,
        },
    ],
}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    png = report.png_bytes(report.new_figure(1, 1))
    pictures = {"maps": png, "mistakes": png, "curves": png, "class_means": None}
    report.write_run_page(path, CONFIG, HISTORY, RESULTS, pictures)
    return Page(path.read_text(encoding="utf-8"))


def assert_stands_alone(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "video", "audio"}
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name == "src":
                assert value.startswith("data:image/png;base64,")
            if name == "href":
                assert value[0] == "#"
                assert value[1:] in page.ids
    styles = " ".join(page.texts)
    assert not re.search(r"url\(|@import|https?:", styles)


def test_page_has_no_references_outside(page):
    assert_stands_alone(page)
    policy = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_page_has_all_sections_in_order(page):
    text = " ".join(page.texts)
    titles = [
        "Summary",
        "Learning curves",
        "Confusion matrix",
        "Per-class scores",
        "What the network looks at",
        "Most confident mistakes",
        "Exported files",
        "Run it on a device",
    ]
    places = [text.rindex(title) for title in titles]
    assert places == sorted(places)
    assert len(page.all("h2")) == len(titles)


def test_pictures_are_png_and_described(page):
    images = page.all("img")
    assert len(images) == 6  # two curves, matrix, curves of classes, maps, mistakes
    for image in images:
        assert base64.b64decode(image["src"].split(",")[1]).startswith(b"\x89PNG")
        assert len(image["alt"]) > 20
    alts = [image["alt"] for image in images]
    assert "training ends at 0.500, validation at 1.250" in alts[0]
    assert "17 of 20 test images are correct" in alts[2]


def test_page_is_made_for_phones_and_screen_readers(page):
    assert page.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all(
        "meta"
    )
    assert len(page.all("caption")) == len(page.all("table"))
    assert all("scope" in cell for cell in page.all("th"))
    assert len(page.ids) == len(set(page.ids))


def test_figures_of_the_run_are_on_the_page(page):
    text = " ".join(page.texts)
    figures = ("85.0%", "90.0%, epoch 2", "1,234,567", "2 min 5 s", "712 kB", "98.3%", "0.012")
    of_classes = ("70.0% to 95.1% with 95%", "0.913", "0.818", "0.889", "0.850")
    for figure in figures + of_classes:
        assert figure in text, figure
    assert "Calibration error" not in text  # which is not known
    assert "keras-dlcourse classify model.int8.tflite" in text


def test_a_file_that_does_not_agree_is_named_with_the_cause(page, tmp_path):
    assert "does not agree" not in " ".join(page.texts)
    (keras_row, file), path = RESULTS["files"], tmp_path / "report.html"
    wrong = {**file, "passed": False, "cause": "other weights: not <these>"}
    right = {**file, "file": "model.float32.tflite", "passed": True, "cause": None}
    report.write_run_page(path, CONFIG, HISTORY, RESULTS | {"files": [keras_row, right, wrong]})
    text = " ".join(Page(path.read_text(encoding="utf-8")).texts)
    assert "model.int8.tflite does not agree with Keras: other weights: not <these>" in text
    assert "agrees with Keras – yes NO" in " ".join(text.split())


def test_names_of_users_are_text(page):
    assert not page.all("b")
    assert sum(NASTY in text for text in page.texts) >= 3


def test_interrupted_run_says_so_and_exports_nothing(tmp_path):
    results = {"interrupted": True, "epochs": 0, "files": []}
    report.write_run_page(tmp_path / "r.html", CONFIG, {}, results)
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    text = " ".join(page.texts)
    assert "interrupted" in text
    assert "No epoch was completed" in text
    assert "Nothing was exported" in text
    assert "Run it on a device" not in text
    assert not page.all("img")


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_text_survives_as_text(text):
    block = report.Table(text, ["a", text], [[text, text]])
    picture = report.Picture(b"x", text, text)
    source = report.render_page(
        text, text, [report.Section(text, [report.Text(text), block, picture])]
    )
    source.encode()  # what is written is valid UTF-8
    page = Page(source)
    assert_stands_alone(page)
    assert {tag for tag, _ in page.tags} == {
        *("html", "head", "meta", "title", "style", "body", "header", "h1", "p", "nav", "ul", "li"),
        *("a", "main", "section", "h2", "div", "table", "caption", "thead", "tr", "th", "tbody"),
        *("td", "figure", "img", "figcaption", "footer"),
    } - (set() if text else {"figcaption"})


def test_dollar_signs_of_users_are_not_placeholders():
    assert "${sections} $title" in report.render_page("${sections} $title", "", [])


def test_numbers_are_set_right_and_names_left():
    html = report.Table("t", ["name", "n", "word"], [["1", "2", "x"], ["3", "–", "4"]]).html()
    assert html.count('<td class="number">') == 2
    assert "<td>x</td>" in html
    assert np.char.count(html, '<th scope="row">') == 2
