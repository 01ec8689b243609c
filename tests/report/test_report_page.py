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
from keras_dlcourse.report import run_page

VOID = {"meta", "img", "br", "wbr"}
NASTY = '<b onload="x()">&amp;\'"</b>'


class Page(HTMLParser):
    """Collect tags, texts and ids, and check that tags are closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags, self.open, self.texts, self.ids = [], [], [], []
        self.source = source
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

    def titles(self):
        """Return the texts of the headings of sections."""
        return re.findall(r"<h2[^>]*>(.*?)</h2>", self.source)

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
    "verdict": {
        "level": "look here",
        "text": "Look here. ...",
        "reasons": [
            {"text": "model.int8.tflite loses <1 point", "advice": "Add images"},
            {"text": "there are only 10 test images", "advice": "Add more of them"},
        ],
    },
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
    answers = [report.Picture(png, f"Answer number {i} with its maps", NASTY) for i in range(2)]
    pictures = {"maps": png, "mistakes": answers, "right": [], "curves": png, "class_means": None}
    report.write_run_page(path, CONFIG, HISTORY, RESULTS, pictures)
    return Page(path.read_text(encoding="utf-8"))


def assert_stands_alone(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "video", "audio"}
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name == "src":
                assert value.startswith("data:image/png;base64,")
            if name == "href" and value.startswith("#"):
                assert value[1:] in page.ids
            elif name == "href":  # a file beside the page
                assert re.fullmatch(r"\./[\w.%/-]+", value)
    styles = " ".join(page.texts)
    assert not re.search(r"url\(|@import|https?:", styles)


def test_page_has_no_references_outside(page):
    assert_stands_alone(page)
    policy = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_page_has_all_sections_in_order(page):
    titles = [
        "Verdict",
        "Summary",
        "Learning curves",
        "Confusion matrix",
        "Per-class scores",
        "What the network looks at",
        "Most confident mistakes",
        "Exported files",
        "Run it on a device",
        "Intended use",
        "Limits",
        "Data",
        "How it was trained",
        "Files of this run",
    ]
    assert page.titles() == titles


def test_pictures_are_png_and_described(page):
    images = page.all("img")
    assert len(images) == 5  # matrix, curves of classes, maps, two mistakes
    for image in images:
        assert base64.b64decode(image["src"].split(",")[1]).startswith(b"\x89PNG")
        assert len(image["alt"]) > 20
    assert "17 of 20 test images are correct" in images[0]["alt"]
    charts = [chart["aria-label"] for chart in page.all("svg") if chart.get("role") == "img"]
    assert len(charts) == 2
    assert "training ends at 0.500, validation at 1.250" in charts[0]


def test_page_is_made_for_phones_and_screen_readers(page):
    assert page.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all(
        "meta"
    )
    assert len(page.all("caption")) == len(page.all("table"))
    assert all("scope" in cell for cell in page.all("th"))
    assert all("tabindex" in box for box in page.all("div") if box.get("class") == "scroll")
    assert len(page.ids) == len(set(page.ids))


def test_figures_of_the_run_are_on_the_page(page):
    text = " ".join(page.texts)
    figures = ("85.0%", "90.0%, epoch 2", "1,234,567", "2 min 5 s", "712 kB", "98.3%", "0.012")
    settings = ("alpha", "0.35", "3.15.1", "Made in Python")
    of_classes = ("70.0% to 95.1% with 95%", "0.913", "0.818", "0.889", "0.850")
    for figure in figures + settings + of_classes:
        assert figure in text, figure
    assert "calibration error" not in text.lower()  # which is not known
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
    assert "Interrupted" in text
    assert "No epoch was completed" in text
    assert "Nothing was exported" in text
    assert "Run it on a device" not in text
    assert not page.all("img")
    assert not page.all("svg")
    assert page.titles()[0] == "Verdict"


def test_verdict_is_first_with_what_to_do(page):
    html = page.source
    assert html.index('<div class="notice look">') < html.index("Test accuracy")
    items = html[html.index('class="notice look"') :].partition("</div>")[0]
    assert "<strong>! Look here</strong>" in items
    assert re.findall("<li>(.*?)</li>", items) == [
        "model.int8.tflite loses &lt;1 point. Add images.",
        "There are only 10 test images. Add more of them.",
    ]
    unfinished = {key: value for key, value in RESULTS.items() if key != "verdict"}
    for results, level in ((unfinished, "Not judged"), ({"interrupted": True}, "Interrupted")):
        assert f"<strong>{level}</strong>" in run_page._judge(results).html()


def test_a_run_tells_how_it_was_made_and_links_its_files(tmp_path):
    (tmp_path / "model.keras").touch()
    (tmp_path / "maps").mkdir()
    config = CONFIG | {
        "command": "keras-dlcourse train 'my <photos>'",
        "machine": {"processor": "Quick 9", "cores": 4, "accelerators": [], "system": "Linux"},
        "augment": {"rotation": 0.1},
        "reasons": ["3 epochs: enough <for now>"],
    }
    report.write_run_page(tmp_path / "report.html", config, HISTORY, RESULTS)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    text = " ".join(page.texts)
    assert "keras-dlcourse train 'my <photos>'" in text
    assert "Made in Python" not in text
    for name, value in (("processor", "Quick 9"), ("accelerators", "none")):
        assert f'<th scope="row">{name}</th><td>{value}</td>' in page.source
    assert '<th scope="row">augment rotation</th><td>0.1</td>' in page.source
    assert "<ul><li>3 epochs: enough &lt;for now&gt;.</li></ul>" in page.source
    assert '<th scope="row">reasons' not in page.source
    links = {link["href"] for link in page.all("a") if link["href"][0] != "#"}
    # The int8 file is not there, so nothing links to it.
    assert links == {"./report.html", "./model_card.md", "./model.keras", "./maps"}
    assert_stands_alone(page)


def test_the_exact_figures_of_pictures_are_in_tables(page, tmp_path):
    summaries = re.findall("<summary>(.*?)</summary>", page.source)
    assert summaries == ["Values", "Values", "Counts"]
    curves = {
        "area": [0.91, float("nan")],
        "average_precision": [0.8, None],
        "bin_score": [0.4, None],
        "bin_right": [0.5, None],
        "bin_images": [20, 0],
    }
    png = report.png_bytes(report.new_figure(1, 1))
    results = RESULTS | {"curves": curves}
    report.write_run_page(tmp_path / "r.html", CONFIG, HISTORY, results, {"curves": png})
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    folded = html[html.index("<summary>Figures of the curves") :].partition("</details>")[0]
    cells = re.findall("<td[^>]*>(.*?)</td>", folded)
    assert cells == ["0.910", "0.800", "–", "–", "0.500", "20"]


def test_many_classes_have_a_list_of_mistakes_instead_of_counts(tmp_path):
    names = [f"kind {number}" for number in range(31)]
    counts = 9 * np.eye(31, dtype=int) + np.eye(31, k=1, dtype=int)
    config = CONFIG | {"data": {"name": "many", "classes": names}}
    results = RESULTS | {"confusion_matrix": counts.tolist()}
    report.write_run_page(tmp_path / "r.html", config, HISTORY, results)
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    folded = html[html.index("<summary>More mistakes") :].partition("</details>")[0]
    assert folded.count("<tr>") == 1 + 30
    assert "<summary>Counts" not in html


def test_limits_name_the_weakest_class_and_what_was_found(page):
    text = " ".join(page.texts)
    assert "weakest at dog: 80% of 10 test images were recognized" in text
    assert "There are only 10 test images." in text


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
    assert report.Table("t", ["", "n"], []).html().count("<th ") == 1  # a corner heads nothing


def test_rows_can_be_marked_by_more_than_a_color():
    table = report.Table("t", ["", "a"], [["x", "1"], ["y", "2"]], marked=[1])
    assert '<tr class="marked"><th scope="row">≠ y</th>' in table.html()
    assert table.html().count("≠") == 1
    assert "| ≠ y | 2 |" in table.markdown()


def test_links_stay_beside_the_page():
    html = report.Link("a b", "javascript:x/é.md").html()
    assert html == '<a href="./javascript%3Ax/%C3%A9.md">a b</a>'


# Text and ground, or a figure and its ground; text needs 4.5, graphics 3 (WCAG 2.2, 1.4.3, 1.4.11).
TEXTS = [("ink", ground) for ground in ("paper", "pale", "good-paper", "look-paper", "stop-paper")]
TEXTS += [("soft", "paper"), ("accent", "paper"), ("ink", "marked"), ("soft", "marked")]
TEXTS += [(level, f"{level}-paper") for level in ("good", "look", "stop")]
GRAPHICS = [(f"line-{number}", "paper") for number in range(6)]


def luminance(color):
    parts = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_all_colors_have_enough_contrast(mode):
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # a known pair
    style = report.render_page("t", "t", []).partition("</style>")[0]
    light, dark = style.split("prefers-color-scheme: dark", 1)
    colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    changed = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark))
    assert set(changed) == set(colors)  # none was forgotten
    shown = colors if mode == "light" else changed
    for pairs, least in ((TEXTS, 4.5), (GRAPHICS, 3.0)):
        for ink, ground in pairs:
            assert contrast(shown[ink], shown[ground]) >= least, (ink, ground)
    # Every color of the page is one of these; the white ground of pictures is that of their files.
    used = re.findall(r"#[0-9a-f]{3,6}\b", style.split("* { box-sizing", 1)[1])
    assert used == ["#fff"]


def test_pictures_are_on_light_cards_that_do_not_glare_in_dark_mode():
    style = report.render_page("t", "t", []).partition("</style>")[0]
    picture = re.search(r"figure img \{(.*?)\}", style)[1]
    for part in ("padding: ", "background: #fff;", "border-radius: ", "filter: var(--glare);"):
        assert part in picture
    glare = re.findall(r"--glare: (.*?);", style)
    assert glare == ["none", "brightness(.86)", "none"]  # light, dark, print
