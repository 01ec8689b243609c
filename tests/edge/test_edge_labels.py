"""Names of classes in every form that says which number each has."""

from __future__ import annotations

import io

import numpy as np
import pytest

from keras_dlcourse.edge import ImageClassifier
from keras_dlcourse.edge.description.labels import order_labels

NAMES = ("cat", "dog", "été")


@pytest.mark.parametrize(
    "labels",
    [
        ["cat", "dog", "été"],
        (name for name in NAMES),
        np.array(NAMES),
        ["cat\n", " dog ", "été\r\n"],
        {2: "été", 0: "cat", 1: "dog"},
        {np.int64(2): "été", np.int64(0): "cat", np.int64(1): "dog"},
        {"2": "été", "0": "cat", "1": "dog"},  # what JSON makes of it
        {"dog": 1, "été": 2, "cat": 0},
        {"dog": np.int32(1), "été": np.int32(2), "cat": np.int32(0)},
        io.StringIO("cat\ndog\nété\n\n"),
        io.BytesIO("\ufeffcat\r\ndog\r\nété\r\n".encode()),
    ],
)
def test_forms(labels):
    assert order_labels(labels) == NAMES


def test_lines_of_an_open_file(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    with path.open(encoding="utf-8") as file:
        assert order_labels(file) == NAMES
    with path.open(encoding="utf-8") as file:
        assert order_labels(file.readlines()) == NAMES


def test_names_that_are_numbers():
    assert order_labels([0, 1]) == ("0", "1")
    assert order_labels({"7": 0, "3": 1}) == ("7", "3")


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (
            "cat",
            TypeError,
            "labels must be a sequence of names. Received: 'cat', which is a single string",
        ),
        ({"cat", "dog"}, TypeError, "Received: a set, which has no order. Pass a list"),
        (frozenset("ab"), TypeError, "Received: a frozenset, which has no order"),
        ({"cat": 0}.keys(), TypeError, "Received: a dict_keys, which has no order"),
        ({1: "cat", 2: "dog"}, ValueError, r"from 0 to 1, each once. Received: the numbers 1, 2"),
        ({"cat": 0, "dog": 0}, ValueError, r"each once. Received: the numbers 0, 0"),
        ({"cat": 0, "dog": 2}, ValueError, r"Received: the numbers 0, 2"),
        ({0: 1, 1: 0}, TypeError, r"class numbers to names.*Received: {0: 1, 1: 0}"),
        ({"cat": "Katze"}, TypeError, "Received: {'cat': 'Katze'}"),
        ({0: "cat", 1: None}, TypeError, "Received: {0: 'cat', 1: None}"),
        ([(0, "cat")], TypeError, r"must contain only names. Received: \(0, 'cat'\) among them"),
        ([True, False], TypeError, "must contain only names. Received: True among them"),
        (7, TypeError, "an open text file. Received: int"),
    ],
)
def test_refused(labels, error, message):
    with pytest.raises(error, match=message):
        order_labels(labels)


def test_classifier_takes_them(described, network):
    content, (image,) = described(), network.images(1)
    best = int(network.scores(image[None])[0].argmax())
    names = [f"class {number}" for number in range(5)]
    for labels in (
        {name: number for number, name in reversed([*enumerate(names)])},
        dict(reversed([*enumerate(names)])),
        io.StringIO("\n".join(names)),
    ):
        classifier = ImageClassifier(content, labels=labels)
        assert classifier.labels == tuple(names)
        assert classifier.classify(image, 1)[0].label == names[best]
    with pytest.raises(TypeError, match="Received: a set, which has no order"):
        ImageClassifier(content, labels=set(names))
