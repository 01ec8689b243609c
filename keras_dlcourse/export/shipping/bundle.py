"""Make a folder to copy to a device: model, runner scripts, pinned requirements, checksums."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from string import Template

from keras_dlcourse._checks import check_one_of
from keras_dlcourse._files import check_free, user_path
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse.edge import ImageClassifier, ImageEmbedder, ImageSegmenter, ModelFile
from keras_dlcourse.edge.tflite.checksums import SUMS
from keras_dlcourse.edge.tflite.metadata import EMBEDDING
from keras_dlcourse.export.checking.inspection import first_labels

PACKAGE = Path(__file__).parents[2]
# The parts of this package that a device needs, so that the bundle is self-contained.
DEVICE_PARTS = (
    "__init__.py",
    "_checks.py",
    "_extras.py",
    "_files.py",
    "_moved.py",
    "_registration.py",
    "_version.py",
    "edge",
    "py.typed",
)


@dataclass(frozen=True)
class Target:
    """A kind of device.

    Attributes:
        name: Name for the `target` argument.
        folder: Folder of its sources, below `export/` in the repository.
    """

    name: str
    folder: str


# The class that runs each kind of model; the scripts of a kind are in a folder of its name.
KINDS: dict[str, type[ImageClassifier | ImageEmbedder | ImageSegmenter]] = {
    "classifier": ImageClassifier,
    "embedder": ImageEmbedder,
    "segmenter": ImageSegmenter,
}

TARGETS: dict[str, Target] = {t.name: t for t in (Target("raspberry-pi", "raspberry_pi"),)}


@renamed_arguments(output="folder")
def bundle(
    model: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    target: str = "raspberry-pi",
) -> Path:
    """Make a folder that runs a `.tflite` file on a device without Keras or TensorFlow.

    It contains the model, runner scripts, the device part of this package, pinned requirements, a
    systemd unit, a README and SHA-256 checksums. A classifier comes with `classify.py`, an embedder
    with `enroll.py` and `identify.py`, a segmenter with `segment.py`. The folder is written
    completely or not at all.

    Args:
        model: A `.tflite` image classifier or segmenter that carries its labels, or an embedder,
            which `to_tflite` writes from a `kd.models.embedding_model`.
        folder: The folder to create; it must be empty or not exist.
        target: The kind of device: `"raspberry-pi"`.

    Returns:
        The folder.

    Raises:
        TypeError: If the target is not a string.
        ValueError: If the target is unknown, or the model is neither a classifier or segmenter with
            labels nor an embedder.
        FileExistsError: If the folder is not empty.

    Example:
        >>> bundle("model.int8.tflite", "pi/")  # doctest: +SKIP
        PosixPath('pi')
    """
    target = check_one_of("target", target, tuple(TARGETS))
    folder = check_free("folder", folder)
    file = ModelFile.read(model)
    kind = _find_kind(file)
    labels = _open_labels(kind, file)  # rejects files that would not run there
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        whole = Path(temporary) / folder.name
        _fill(whole, user_path(model), file, kind, labels, _sources(TARGETS[target]))
        whole.replace(folder)
    return folder


def _find_kind(file: ModelFile) -> str:
    """Return the kind of model that a file is according to its metadata."""
    if EMBEDDING in file.metadata.outputs:
        return "embedder"
    return "classifier" if file.metadata.mask is None else "segmenter"


def _open_labels(kind: str, file: ModelFile) -> tuple[str, ...]:
    """Open the file as on a device, and return the names of its classes; none of an embedder."""
    model = KINDS[kind](file)
    if isinstance(model, ImageEmbedder):
        return ()
    if model.labels is None:
        raise ValueError(f"{file.what} has no class names. Export it with labels=")
    return model.labels


def _sources(target: Target) -> Path:
    """Return the folder of the target's sources: in the wheel, or next to an editable install."""
    for folder in (PACKAGE / "bundle", PACKAGE.parent / "export"):
        if (folder / target.folder).is_dir():
            return folder / target.folder
    raise FileNotFoundError(
        f"this installation lacks the sources of target {target.name!r}. Install the wheel, or "
        "install from a complete checkout"
    )


def _fill(
    whole: Path, model: Path, file: ModelFile, kind: str, labels: tuple[str, ...], sources: Path
) -> None:
    """Write every file of the bundle."""
    name = file.metadata.name or model.stem
    names = {
        "name": name,
        "service": re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or kind,
        "labels": first_labels(labels),
    }
    whole.mkdir()
    files = [*sources.iterdir(), *(sources / kind).iterdir()]
    for source in sorted(path for path in files if path.is_file()):
        text = source.read_text(encoding="utf-8")
        if source.suffix != ".py":
            text = Template(text).substitute(names)
        target = whole / source.name.replace("service.service", f"{names['service']}.service")
        target.write_text(text, encoding="utf-8")
        shutil.copymode(source, target)
    shutil.copyfile(model, whole / "model.tflite")
    for part in DEVICE_PARTS:
        _copy(PACKAGE / part, whole / PACKAGE.name / part)
    (whole / SUMS).write_text(_checksums(whole), encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _checksums(folder: Path) -> str:
    """Return lines for `sha256sum -c`."""
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )
