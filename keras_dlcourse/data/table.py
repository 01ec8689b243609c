"""A table of image files and labels as a data set: a CSV file with the columns file and label."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_dlcourse._files import user_path
from keras_dlcourse.data.folder import find_images, image_folder
from keras_dlcourse.data.listing import display_name
from keras_dlcourse.data.multilabel import names_one_class
from keras_dlcourse.data.parts import find_part
from keras_dlcourse.data.reading import FoundImages, ImageReader, list_some
from keras_dlcourse.edge.description.labels import check_class_names

if TYPE_CHECKING:
    from keras_dlcourse.data.datasets import Dataset

_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
_SEPARATORS = "[;|]"  # between the labels of one image
# Names of columns, in lower case, with "_" for spaces and hyphens.
_FILE = {"file", "filename", "file_name", "filepath", "file_path", "path", "image", "img"}
_FILE |= {"image_file", "image_path", "image_name"}
_LABEL = re.compile(r"(labels?|class(es)?|class_name|category|tags?)(_?\d+)?")
_SPLIT = {"split", "part", "partition", "subset", "set"}
_PRESENCE = {"0": 0, "1": 1, "-1": -1, "0.0": 0, "1.0": 1, "-1.0": -1}
_TABLES = {".csv", ".tsv", ".txt"}
_HOW = (
    "It must begin with a line that names its columns, separated by commas, semicolons or tabs: "
    "file, label and, if the data are already split, split"
)


def read_images(path: str | os.PathLike[str], **options: Any) -> Dataset:
    """Create a data set from a folder of images, or from a table of files and labels.

    Args:
        path: A folder for `image_folder`, or a `.csv`, `.tsv` or `.txt` file for `image_csv`.
        options: Their other arguments, which are the same.

    Raises:
        FileNotFoundError: If there is no such folder or file.
        ValueError: If it is a file of another type; and as in the functions above.

    Example:
        >>> data = read_images("photos/", image_size=64)  # doctest: +SKIP
        >>> data = read_images("photos/labels.csv", image_size=64)  # doctest: +SKIP
    """
    return (image_csv if _is_table(user_path(path)) else image_folder)(path, **options)


def find_any_images(path: Path, class_names: Sequence[str] | None = None) -> FoundImages:
    """Find the images of a folder or of a table, without reading them.

    Raises:
        FileNotFoundError: As in `read_images`.
        ValueError: As in `read_images`.
    """
    if _is_table(path):
        return find_listed(path, class_names, missing_ok=True)
    return find_images(path, class_names)


def _is_table(path: Path) -> bool:
    is_table = path.suffix.lower() in _TABLES
    if path.is_dir() or not (is_table or path.is_file()):
        return False
    if not is_table:
        raise ValueError(
            "path must be a folder of images, or a table of files and labels (.csv, .tsv, .txt). "
            f"Received: {path}"
        )
    return True


def image_csv(
    path: str | os.PathLike[str],
    image_size: int | tuple[int, int] = 96,
    channels: int = 3,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    batch_size: int = 32,
    skip_bad: bool = False,
    crop: bool = False,
    cache: bool | str | os.PathLike[str] | None = None,
    class_names: Sequence[str] | None = None,
    bits: int | None = None,
    group_by: str | None = None,
) -> Dataset:
    """Create a data set from a table that lists image files and their labels.

    The table is text in UTF-8, with cells separated by commas, semicolons or tabs. Its first line
    names the columns, in any order; other columns are ignored.

    | column | also called | content |
    |---|---|---|
    | `file` | `path`, `image`, `filename` | path of an image, from the folder of the table |
    | `label` | `class`, `category`, `tags` | name of its class |
    | `split` | `part`, `subset`, `set` | optional: `train`, `val`, `test`, or similar names |

    A part that does not occur in `split` is drawn from the training part, as in `image_folder`. A
    table with two columns, files and labels, needs no first line with their names.

    An image may have several classes: in one cell, separated by `;` or `|`; or in several columns
    `label_1`, `label_2`; or in one column for each class that contains 1 where it is present, 0
    where it is absent, and -1 where that is unknown. Labels are then `(n, classes)`, of 1, 0 and
    -1, for `kd.losses.WeightedBinaryCrossentropy` and `kd.data.positive_weights`, and an empty cell
    means that the image has none of the classes. If columns for classes contain one 1 per image,
    each image has one class.

    Args:
        path: The table.
        image_size: Like all further arguments, as in `image_folder`.
        channels: As in `image_folder`.
        validation: As in `image_folder`.
        test: As in `image_folder`.
        seed: As in `image_folder`.
        batch_size: As in `image_folder`.
        skip_bad: As in `image_folder`. Files that do not exist are skipped, too.
        crop: As in `image_folder`.
        cache: As in `image_folder`.
        class_names: The labels to use as classes, in the order of their numbers. Images with other
            labels are ignored, or, if images may have several labels, other labels. None uses all
            labels, sorted by name; classes that have a column each, in the order of the columns.
        bits: As in `image_folder`.
        group_by: As in `image_folder`, or the name of a column of the table.

    Returns:
        A `Dataset`.

    Raises:
        FileNotFoundError: If the table does not exist, or files that it lists (the message lists
            them).
        ValueError: If the table is not as described above, a file is listed twice, a name in
            `split` is unknown, there are fewer than two classes; and as in `image_folder`.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> import keras_dlcourse as kd
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> lines = ["file,label"]
        >>> for i in range(10):
        ...     color = "red" if i % 2 else "green"
        ...     Image.new("RGB", (40 + i, 30), color).save(root / f"{i}.png")
        ...     lines.append(f"{i}.png,{color}")
        >>> _ = (root / "labels.csv").write_text("\\n".join(lines))
        >>> data = kd.data.image_csv(root / "labels.csv", image_size=32)
        >>> data.class_names, data.train.examples, data.test.y.tolist()
        (('green', 'red'), 6, [0, 1])
    """
    reader = ImageReader(
        image_size=image_size,
        channels=channels,
        validation=validation,
        test=test,
        seed=seed,
        batch_size=batch_size,
        skip_bad=skip_bad,
        crop=crop,
        cache=cache,
        bits=bits,
        group_by=group_by,
    )
    return reader.read(find_listed(user_path(path), class_names, missing_ok=skip_bad))


@dataclass(frozen=True)
class _Table:
    """The cells of a table.

    Attributes:
        path: The file.
        columns: Names of the columns as written; none if the table does not name them.
        rows: The other rows; each has a cell for each column, without surrounding spaces.
        lines: Number of the last line of each row, from 1.
    """

    path: Path
    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]

    def refuse(self, row: int, problem: str) -> ValueError:
        """Return the error for a row."""
        return ValueError(f"{self.path}, line {self.lines[row]}: {problem}")


def find_listed(
    path: Path, class_names: Sequence[str] | None = None, missing_ok: bool = False
) -> FoundImages:
    """Find the images that a table lists.

    Args:
        path: The table.
        class_names: See `image_csv`.
        missing_ok: Whether files that do not exist are accepted here.

    Raises:
        FileNotFoundError: See `image_csv`.
        ValueError: See `image_csv`.
    """
    table = _read_table(path)
    file, labels, split = _choose_columns(table)
    if not table.rows:
        raise ValueError(f"{path} contains no files. {_HOW}.")
    names = [row[file] for row in table.rows]
    paths = _find_files(table, names, missing_ok)
    classes, numbers = _read_labels(table, labels)
    parts = np.full(len(names), "train", dtype="<U10")
    if split is not None:
        parts = _read_parts(table, split)
    columns = {
        name: np.array([row[number] for row in table.rows])
        for number, name in enumerate(table.columns)
        if number != file and number not in labels
    }
    found = FoundImages(
        display_name(path.resolve().parent), path, classes, paths, names, numbers, parts, columns
    )
    return _choose_classes(found, class_names)


def _read_table(path: Path) -> _Table:
    """Read a table, with the delimiter that makes it a table of files and labels."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file. Pass a table of files and labels.")
    text = _decode(path)
    tables = [table for mark in _DELIMITERS if (table := _parse(path, text, mark)) is not None]
    named = [table for table in tables if table.columns]
    if len(named) == 1 or len(tables) == 1:
        return (named or tables)[0]
    first = text.lstrip().split("\n", 1)[0].rstrip("\r")
    raise ValueError(f"{path} is not a table of files and labels. {_HOW}. Received: {first!r}")


def _decode(path: Path) -> str:
    content = path.read_bytes()
    is_utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))  # "Unicode text" of Excel
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        found = f"byte 0x{content[error.start]:02x} in line {line}"
    else:
        if "\0" not in text:
            return text
        found = "a NUL character"
    raise ValueError(
        f"{path} must be text in UTF-8. Received: {found}. Save the table as UTF-8, in "
        "spreadsheets as 'CSV UTF-8'."
    )


def _parse(path: Path, text: str, delimiter: str) -> _Table | None:
    """Return the table that a text is with this delimiter, or None if it is none.

    It is one if its first row names the columns, or if all rows have two cells and the first cell
    of the first row is a file.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, lines = [], []
    problem = None
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                rows.append(cells)
                lines.append(reader.line_num)
    except csv.Error as error:
        problem = f"{path}, line {reader.line_num} is not a row of a table: {error}"
    if not rows:
        return None
    first = rows[0]
    is_named = not _FILE.isdisjoint(map(_plain, first)) and len(first) > 1
    if is_named and problem:
        raise ValueError(problem)
    if not is_named:
        is_pair = all(len(row) == 2 for row in rows) and _is_file(_locate(path, first[0]))
        return _Table(path, (), rows, lines) if is_pair and not problem else None
    table = _Table(path, tuple(first), rows[1:], lines[1:])
    for number, row in enumerate(table.rows):
        if len(row) != len(first):
            raise table.refuse(
                number,
                f"a row must have {len(first)} cells, one for each of {', '.join(first)}. "
                f"Received: {len(row)}, separated by {_DELIMITERS[delimiter]}: {row}. Put cells "
                'that contain the separator in quotes: "a, b".',
            )
    return table


def _plain(name: str) -> str:
    """Return the name of a column in the form in which columns are recognized."""
    return re.sub("[ -]+", "_", name.lower())


def _choose_columns(table: _Table) -> tuple[int, list[int], int | None]:
    """Return the numbers of the columns with the file, the labels and the part."""
    if not table.columns:
        return 0, [1], None
    names = [_plain(name) for name in table.columns]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"{table.path}: names of columns must be unique. Received more than once: "
            f"{', '.join(repeated)}"
        )

    def columns(is_wanted: Callable[[str], Any]) -> list[int]:
        return [number for number, name in enumerate(names) if is_wanted(name)]

    files, splits = columns(_FILE.__contains__), columns(_SPLIT.__contains__)
    for what, chosen in (("file", files), ("split", splits)):
        if len(chosen) > 1:
            listed = ", ".join(table.columns[number] for number in chosen)
            raise ValueError(
                f"{table.path}: one column must be the {what}. Received: {listed}. "
                "Rename the others."
            )
    labels = columns(_LABEL.fullmatch)
    if not labels:  # a column for each class
        labels = columns(lambda name: name not in _FILE | _SPLIT)
        strange = [
            table.columns[number]
            for number in labels
            if not all(row[number] in _PRESENCE for row in table.rows)
        ]
        if strange or len(labels) < 2:
            raise ValueError(
                f"{table.path} must have a column label, or a column for each of two or more "
                "classes that contains only 1, 0 or -1. Received: the columns "
                f"{', '.join(table.columns)}"
                + (f"; with other content: {', '.join(strange)}" if strange else "")
            )
    return files[0], labels, splits[0] if splits else None


def _locate(table: Path, name: str) -> Path:
    """Return the path of a file that a table lists."""
    path = table.parent / name
    if "\\" in name and not _is_file(path):  # written on Windows
        return table.parent / name.replace("\\", "/")
    return path


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises if the name is too long


def _find_files(table: _Table, names: list[str], missing_ok: bool) -> list[Path]:
    """Return the listed files, each of which must be listed once."""
    paths = [_locate(table.path, name) for name in names]
    rows: dict[str, int] = {}
    for number, path in enumerate(paths):
        if not names[number]:
            raise table.refuse(number, "the file is missing.")
        first = rows.setdefault(os.path.realpath(path), number)
        if first != number:
            raise table.refuse(
                number,
                f"each file must be listed once. Received: {names[number]}, which line "
                f"{table.lines[first]} lists, too. If it has several labels, write them in one "
                "cell, separated by | or ;.",
            )
    missing = [name for name, path in zip(names, paths, strict=True) if not _is_file(path)]
    if missing and not missing_ok:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(names)} files in {table.path} do not exist: "
            f"{list_some(missing)}. Their paths must be relative to {table.path.parent}. Correct "
            "them, or skip these files with skip_bad=True (--skip-bad)."
        )
    return paths


def _read_labels(table: _Table, columns: list[int]) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the classes, and labels `(n,)` or `(n, classes)`."""
    if table.columns and not _LABEL.fullmatch(_plain(table.columns[columns[0]])):
        classes = tuple(table.columns[number] for number in columns)
        values = np.array([[_PRESENCE[row[number]] for number in columns] for row in table.rows])
        return classes, values.argmax(axis=1) if names_one_class(values) else values
    cells = [[row[number] for number in columns] for row in table.rows]
    of_each = [
        [label for cell in row for part in re.split(_SEPARATORS, cell) if (label := part.strip())]
        for row in cells
    ]
    classes = tuple(sorted({label for labels in of_each for label in labels}))
    if not classes:
        raise ValueError(f"{table.path} contains no labels. {_HOW}.")
    number_of = {label: number for number, label in enumerate(classes)}
    several = len(columns) > 1 or any(re.search(_SEPARATORS, row[0]) for row in cells)
    if not several:
        for row, labels in enumerate(of_each):
            if not labels:
                raise table.refuse(
                    row,
                    "the label is missing. Complete the line, or remove it. If images may have "
                    "any number of labels, or none, use a column for each label, with 1 and 0.",
                )
        return classes, np.array([number_of[label] for (label,) in of_each], int)
    present = np.zeros((len(of_each), len(classes)), "int32")
    for row, labels in enumerate(of_each):
        present[row, [number_of[label] for label in labels]] = 1
    return classes, present


def _read_parts(table: _Table, column: int) -> np.ndarray:
    """Return the part of each file."""
    found = {name: find_part(name) for name in dict.fromkeys(row[column] for row in table.rows)}
    if unknown := [name for name, part in found.items() if part is None]:
        raise ValueError(
            f"{table.path}: {table.columns[column]} must be train, val or test for each file. "
            f"Received: {list_some([repr(name) for name in unknown])}"
        )
    if "train" not in found.values():
        raise ValueError(
            f"{table.path}: {table.columns[column]} must be train for some files. Received only: "
            f"{list_some(list(found))}"
        )
    return np.array([found[row[column]] for row in table.rows])


def _choose_classes(found: FoundImages, class_names: Sequence[str] | None) -> FoundImages:
    """Return the images of the chosen classes, with numbers in their order."""
    names = check_class_names(found.class_names if class_names is None else class_names)
    if missing := [name for name in names if name not in found.class_names]:
        raise ValueError(
            f"class_names must be labels in {found.place}. Missing: {', '.join(missing)}. "
            f"Available: {list_some(list(found.class_names))}"
        )
    if len(names) < 2:
        what = "class_names must name" if class_names is not None else f"{found.place} must contain"
        raise ValueError(f"{what} two or more classes. Received: {list(names)}")
    numbers = [found.class_names.index(name) for name in names]
    if found.labels.ndim == 2:
        labels = found.labels[:, numbers]
        rows = np.arange(len(labels))
    else:
        new = np.full(len(found.class_names), -1)
        new[numbers] = np.arange(len(numbers))
        labels = new[found.labels]
        rows = np.flatnonzero(labels >= 0)
    return replace(found, class_names=names, labels=labels).subset(rows)
