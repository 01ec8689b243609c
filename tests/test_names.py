"""One name for one thing: the table in ARCHITECTURE.md, applied to all public signatures."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import pytest

import keras_dlcourse as kd


class Rule(NamedTuple):
    """Names that must not be used for arguments of some types."""

    names: str  # a regular expression
    types: str  # a regular expression for the annotation
    instead: str


RULES = (
    Rule(r"n|n_.*|num_.*|.*_count|max_.*|most|images|examples|draws", r"\bint\b", "limit, samples"),
    Rule(r"directory|dir|.*_dir|output|out.*_path", "Path", "folder, path"),
    Rule(r"file|filename|filepath|.*_path|.*_file", "Path", "path"),
    Rule(r"names|class_labels|label_names|categories", r"\bstr\b", "class_names"),
    Rule(r"labels", r"Sequence\[str\]|Labels", "class_names"),
    Rule(r"preprocess|norm|normalizer", "Normalization", "normalization, preprocessing"),
)

# Each with the reason. A key is the name of an argument, anywhere or in one place.
EXCEPTIONS = {
    "n_jobs": "scikit-learn",
    "max_results": "MediaPipe",
    "max_iter": "scikit-learn",
    "callbacks.BackupAndRestore.backup_dir": "Keras",
    "callbacks.ModelCheckpoint.filepath": "Keras",
    "data.PKSampler.images": "images per class, part of what a batch is",
    "saving.load.max_bytes": "a size, not a count",
    "training.decay_weights.examples": "the size of the training data, not a limit",
    "quantize.fewest_in_float.most": "layers, next to limit for the examples",
    "layers.OutputDescription.names": "of keypoints, not of classes",
    "edge.ImageClassifier.labels": "replaces those of the file",
    "edge.ImageSegmenter.labels": "replaces those of the file",
    "edge.ObjectDetector.labels": "replaces those of the file",
    "export.to_tflite.labels": "written to the file",
    "quantize.after_training.labels": "written to the file",
}


def public_arguments() -> Iterator[tuple[str, str, str]]:
    """Yield the place, the name and the annotation of each argument of the public API."""
    for package in (name for name in kd.__all__ if isinstance(getattr(kd, name), ModuleType)):
        for name in getattr(kd, package).__all__:
            part = getattr(getattr(kd, package), name)
            for suffix, function in _functions(part):
                for argument in inspect.signature(function).parameters.values():
                    yield f"{package}.{name}{suffix}", argument.name, str(argument.annotation)


def _functions(part: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield a function, or a class and its methods. Fields of results are not arguments."""
    if not inspect.isclass(part):
        if callable(part):
            yield "", part
        return
    is_result = dataclasses.is_dataclass(part) or issubclass(part, tuple)
    if not is_result and "__init__" in vars(part):
        yield "", part
    for name, member in vars(part).items():
        function = getattr(member, "__func__", member)
        if not name.startswith("_") and inspect.isfunction(function):
            yield f".{name}", function


def name_instead(name: str, annotation: str) -> str | None:
    """Return which name to use instead, or None if the name follows the rules."""
    for rule in RULES:
        if re.fullmatch(rule.names, name) and re.search(rule.types, annotation):
            return rule.instead
    return None


def test_every_public_argument_follows_the_table() -> None:
    needed, wrong = set(), []
    for place, name, annotation in public_arguments():
        if instead := name_instead(name, annotation):
            excepted = EXCEPTIONS.keys() & {name, f"{place}.{name}"}
            needed |= excepted
            if not excepted:
                wrong.append(f"{place}({name}: {annotation}): use {instead}")
    assert not wrong, "\n".join(wrong)
    assert needed == EXCEPTIONS.keys(), "remove the exceptions that are not needed"


@pytest.mark.parametrize(
    ("name", "annotation"),
    [("n", "int | None"), ("max_images", "int"), ("directory", "str | Path"), ("labels", "Labels")],
)
def test_a_name_that_breaks_the_table_is_found(name: str, annotation: str) -> None:
    assert name_instead(name, annotation)
