"""Tables of files and labels: `kd.data.image_csv` and `kd.data.read_images`."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import keras_dlcourse as kd
from keras_dlcourse.data.table import find_listed

CLASSES = ("ant", "bee", "cat")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Images of one gray level each, ten times their number."""
    root = tmp_path_factory.mktemp("tables") / "photos"
    (root / "more").mkdir(parents=True)
    for number in range(24):
        name = f"more/{number}.png" if number % 2 else f"{number}.png"
        Image.new("L", (9, 7), number * 10).save(root / name)
    return root


def names_of(numbers):
    return [f"more/{number}.png" if number % 2 else f"{number}.png" for number in numbers]


def write(photos, text, encoding="utf-8", name="labels.csv"):
    path = photos / name
    path.write_bytes(text.encode(encoding))
    return path


def rows(labels, *beside):
    return "".join(
        ",".join(cells) + "\n"
        for cells in zip(names_of(range(len(labels))), labels, *beside, strict=True)
    )


def pairs(data):
    """Return the number and the labels of each image, for each part."""
    return {
        part: [
            (int(image.max()) // 10, *np.atleast_1d(label).tolist())
            for image, label in zip(getattr(data, part).x[:], getattr(data, part).y, strict=True)
        ]
        for part in ("train", "validation", "test")
    }


@pytest.mark.parametrize("cache", [True, False])
def test_files_and_labels(photos, cache):
    labels = [CLASSES[number % 3] for number in range(24)]
    path = write(photos, "file,label\n" + rows(labels))
    data = kd.data.image_csv(path, 8, channels=1, batch_size=5, seed=3, cache=cache)
    assert (data.name, data.class_names, data.image_shape) == ("photos", CLASSES, (8, 8, 1))
    assert (data.train.batch_size, data.train.seed) == (5, 3)
    found = sum(pairs(data).values(), [])
    assert sorted(found) == [(number, number % 3) for number in range(24)]
    assert np.bincount(data.test.y).tolist() == np.bincount(data.validation.y).tolist() == [1, 1, 1]
    numbers = [number for number, _ in pairs(data)["test"]]
    assert data.files.names["test"] == tuple(names_of(numbers))
    assert [file.name for file in data.files.paths["test"]] == [f"{n}.png" for n in numbers]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("\ufefffile;label\r\n0.png;ant\r\n\r\nmore/1.png;bée\r\n", "utf-8"),
        ("File Name\tignored\tClass\n 0.png \t1\t ant \nmore/1.png\t2\tbée", "utf-8"),
        ('label,"file"\n"ant","0.png"\n"bée",more\\1.png\n', "utf-8"),
        ("file\tlabel\n0.png\tant\nmore/1.png\tbée\n", "utf-16"),
        ("0.png,ant\nmore/1.png,bée\n", "utf-8"),
        ("0.png;ant\n./more/1.png;bée\n", "utf-8"),
    ],
)
def test_dialects(photos, text, encoding):
    found = find_listed(write(photos, text, encoding))
    assert found.class_names == ("ant", "bée")
    assert found.labels.tolist() == [0, 1]
    assert [path.name for path in found.paths] == ["0.png", "1.png"]


def test_a_split_column(photos):
    parts = (["train"] * 3 + ["val", "TEST"]) * 4
    labels = [CLASSES[number % 2] for number in range(20)]
    path = write(photos, "file,label,split\n" + rows(labels, parts))
    found = pairs(kd.data.image_csv(path, 8))
    names = {"train": "train", "val": "validation", "TEST": "test"}
    for part in found:
        expected = [n for n in range(20) if names[parts[n]] == part]
        assert [number for number, _ in found[part]] == expected
    # What does not occur is drawn from the training part.
    parts = ["test" if number < 4 else "train" for number in range(20)]
    path = write(photos, "file,label,subset\n" + rows(labels, parts))
    found = pairs(kd.data.image_csv(path, 8, validation=0.25))
    assert [number for number, _ in found["test"]] == [0, 1, 2, 3]
    assert sorted(label for _, label in found["validation"]) == [0, 0, 1, 1]


def test_several_labels(photos):
    labels = ["ant|bee", "bee", "", " cat ; ant "] * 5
    expected = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1]] * 5)
    one_cell = "file,tags\n" + rows(labels)
    cells = [
        "file,label_1,Label 2\n" + rows(["ant", "bee", "", "cat"] * 5, ["bee", "", "", "ant"] * 5),
        "file,ant,bee,cat\n" + rows(*expected.T.astype(str).tolist()),
    ]
    for text in (one_cell, *cells):
        found = find_listed(write(photos, text))
        assert found.class_names == CLASSES
        np.testing.assert_array_equal(found.labels, expected)
    data = kd.data.image_csv(write(photos, one_cell), 8)
    for part, count in (("train", 3), ("validation", 1), ("test", 1)):
        y = getattr(data, part).y
        assert y.dtype == "int32" and (y.sum(axis=0) >= [count, count, 1]).all()
        assert (y.sum(axis=1) == 0).any()  # images of no class are in each part, too
        for number, *labels_of in pairs(data)[part]:
            assert labels_of == expected[number].tolist()
    # ant in 10 of 20, cat in 5
    np.testing.assert_allclose(kd.data.positive_weights(data.test.y), [1, 1, 3], atol=2)
    chosen = find_listed(write(photos, one_cell), ["cat", "bee"])
    np.testing.assert_array_equal(chosen.labels, expected[:, [2, 1]])
    unknown = "file,ant,bee\n0.png,1,-1\nmore/1.png,0,1\n"
    assert find_listed(write(photos, unknown)).labels.tolist() == [[1, -1], [0, 1]]


def test_a_column_per_class_with_one_class_per_image(photos):
    found = find_listed(write(photos, "image,NV,MEL\n0.png,1.0,0.0\nmore/1.png,0.0,1.0\n"))
    assert (found.class_names, found.labels.tolist()) == (("NV", "MEL"), [0, 1])


def test_class_names_choose_labels(photos):
    labels = [CLASSES[number % 3] for number in range(24)]
    path = write(photos, "file,label\n" + rows(labels))
    found = find_listed(path, ["cat", "ant"])
    assert found.class_names == ("cat", "ant")
    assert found.names == names_of(number for number in range(24) if number % 3 != 1)
    assert found.labels.tolist() == [1, 0] * 8
    with pytest.raises(ValueError, match=r"Missing: cow. Available: ant, bee, cat"):
        find_listed(path, ["cow", "ant"])
    with pytest.raises(ValueError, match=r"class_names must name two or more .*\['ant'\]"):
        find_listed(path, ["ant"])


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("file,label\n0.png,ant\nno.png,bee\nnor.png,bee\n", FileNotFoundError,
         r"2 of the 3 files in .* do not exist: no.png, nor.png. .*relative to .*skip_bad=True"),
        ("file,label\n0.png,ant\n./0.png,bee\n", ValueError,
         r"line 3: each file must be listed once. Received: ./0.png, which line 2 lists, too.*\|"),
        ("file,label\n0.png,ant\n2.png,\n", ValueError, "line 3: the label is missing"),
        ("file,label\n,ant\n2.png,bee\n", ValueError, "line 2: the file is missing"),
        ("file,label\n0.png,a\nd,x,y\n", ValueError,
         r"line 3: a row must have 2 cells, .* file, label. Received: 3, separated by a comma"),
        ('file,label\n0.png,"a\n', ValueError, "line 2 is not a row of a table"),
        ("file,label,split\n0.png,a,train\n2.png,b,later\n", ValueError,
         "split must be train, val or test for each file. Received: 'later'"),
        ("file,label,split\n0.png,a,train\n2.png,b,\n", ValueError, "Received: ''"),
        ("file,label,set\n0.png,a,test\n2.png,b,val\n", ValueError,
         "set must be train for some files. Received only: test, val"),
        ("file,label,Label\n0.png,a,b\n", ValueError, "must be unique. Received more than once: l"),
        ("file,path,label\n0.png,a,b\n", ValueError, "one column must be the file. .*file, path"),
        ("file,width,height\n0.png,1,7\n", ValueError,
         r"a column label, or a column for each .*the columns file, width, height; .*: height"),
        ("file,split\n0.png,train\n", ValueError, "must have a column label"),
        ("file,label\n0.png,ant\n2.png,ant\n", ValueError, r"two or more classes.*\['ant'\]"),
        ("file,label\n", ValueError, "contains no files"),
        ("", ValueError, "is not a table of files and labels.*Received: ''"),
        ("photo,what\n0.png,ant\n", ValueError, "must begin with .*Received: 'photo,what'"),
        ("0.png,ant;bee\n2.png,ant;cat\n", None, ""),  # as pairs only with a comma
        ("a" * 300 + ",b\n", ValueError, "is not a table"),
        ("0.png ant\n2.png bee\n", ValueError, "separated by commas, semicolons or tabs"),
        ("file,label\n0.png,a\0\n", ValueError, "must be text in UTF-8. Received: a NUL"),
    ],
)  # fmt: skip
def test_tables_that_say_nothing_certain(photos, text, error, message):
    path = write(photos, text)
    if error is None:
        assert find_listed(path).class_names == ("ant", "bee", "cat")
        return
    with pytest.raises(error, match=message):
        find_listed(path)


def test_other_encodings_are_named(photos):
    path = write(photos, "file,label\n0.png,b\xe9e\n", "latin-1")
    with pytest.raises(ValueError, match="must be text in UTF-8. Received: byte 0xe9 in line 2"):
        find_listed(path)


def test_missing_and_damaged_files_can_be_skipped(photos):
    (photos / "bad.png").write_bytes(b"nothing")
    labels = [CLASSES[number % 2] for number in range(12)]
    path = write(photos, "file,label\n" + rows(labels) + "bad.png,ant\nno.png,ant\n")
    with pytest.warns(UserWarning, match=r"2 of 14 files") as caught:
        data = kd.data.image_csv(path, 8, skip_bad=True)
    assert caught[0].filename == __file__
    assert len(data.files.unreadable) == 2 and "no.png" in data.files.unreadable[1]
    assert sorted(n for n, _ in sum(pairs(data).values(), [])) == list(range(12))


def test_a_column_groups_the_images(photos):
    labels = [CLASSES[number // 12] for number in range(24)]
    people = [f"p{number % 12 // 2}" for number in range(24)]
    path = write(photos, "file,label,patient\n" + rows(labels, people))
    found = pairs(kd.data.image_csv(path, 8, validation=0.2, test=0.2, group_by="patient"))
    parts = [{people[number] for number, _ in of_part} for of_part in found.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 6
    with pytest.raises(ValueError, match="one of the columns patient, or a regular expression"):
        kd.data.image_csv(path, 8, group_by="person")


def test_read_images_takes_both(photos, tmp_path):
    labels = [CLASSES[number % 2] for number in range(12)]
    path = write(photos, "file,label\n" + rows(labels))
    assert kd.data.read_images(path, image_size=8).class_names == ("ant", "bee")
    with pytest.raises(ValueError, match=r"no folders.*pass the table: \S+labels\.csv"):
        kd.data.read_images(tmp_path_with_table(tmp_path))
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        kd.data.read_images(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"nowhere.csv is not a file"):
        kd.data.read_images(tmp_path / "nowhere.csv")
    with pytest.raises(ValueError, match=r"folder of images, or a table .* Received: .*0\.png"):
        kd.data.read_images(photos / "0.png")


def tmp_path_with_table(root):
    (root / "labels.csv").write_text("file,label\n")
    return root


label = st.text(
    st.characters(codec="utf-8", exclude_characters="|;\0", exclude_categories=("Cc", "Zl", "Zp")),
    min_size=1,
    max_size=6,
).filter(lambda text: text == text.strip() and text)


@settings(deadline=None, max_examples=30)
@given(
    sets=st.lists(st.lists(label, max_size=3), min_size=1, max_size=8),
    delimiter=st.sampled_from(",;\t"),
    separator=st.sampled_from("|;"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    end=st.sampled_from(["\n", "\r\n"]),
    order=st.permutations([0, 1, 2]),
)
def test_what_is_written_is_read(photos, sets, delimiter, separator, encoding, end, order):
    """Whatever the dialect of the csv module, the labels are those that were written."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end)
    names = names_of(range(len(sets)))
    cells = [separator.join(labels) for labels in sets]
    for row in [("file", "label", "id"), *zip(names, cells, names, strict=True)]:
        writer.writerow([row[place] for place in order])
    path = write(photos, text.getvalue(), encoding)
    known = sorted({label for labels in sets for label in labels})
    is_single = all(len(labels) < 2 for labels in sets)
    if len(known) < 2 or (is_single and not all(sets)):
        with pytest.raises(ValueError, match=r"two or more|no labels|label is missing"):
            find_listed(path)
        return
    found = find_listed(path)
    assert (found.class_names, found.names) == (tuple(known), names)
    for labels, numbers in zip(sets, found.labels, strict=True):
        chosen = np.flatnonzero(numbers) if found.labels.ndim == 2 else [numbers]
        assert sorted(set(labels)) == [known[number] for number in chosen]
