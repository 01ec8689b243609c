"""What a gallery of 10,000 templates costs beside the embedding: MobileNetV2 1.0 at 224.

Five images are enrolled as a new class and then identified, against the bare embedding of the same
images; uint8 arrays of the model's size, int8 file, one thread, ai-edge-litert.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras
import numpy as np
from _figures import Figure, in_turn, ratio

import keras_dlcourse as kd
from keras_dlcourse.edge import Gallery, ImageEmbedder, nearest
from keras_dlcourse.edge.search.gallery_file import GalleryContent, file_hash, pack

LIMIT = 2.0
TEMPLATES, CLASSES, DIMENSIONS, PHOTOS = 10_000, 1_000, 128, 5
ROUNDS = 15


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        embedder = ImageEmbedder(_model(Path(folder)), threads=1)
        gallery = _gallery(Path(folder) / "gallery.kdg", embedder)
    photos = np.random.default_rng(1).integers(0, 256, (PHOTOS, 224, 224, 3)).astype("uint8")

    def enroll_and_identify() -> None:
        gallery.enroll("new", photos)
        for photo in photos:
            gallery.identify(photo)
        gallery.remove("new")  # so that each round begins alike; its time counts, too

    def embed() -> None:
        for photo in photos:
            embedder.embed(photo)

    def identify() -> None:
        gallery.identify(photos[0])

    both, bare = in_turn(enroll_and_identify, embed, rounds=ROUNDS)
    one, single = in_turn(identify, lambda: embedder.embed(photos[0]), rounds=ROUNDS, calls=3)
    query, templates = embedder.embed(photos[0])[None], gallery._vectors
    search, _ = in_turn(lambda: nearest(query, templates, 1), lambda: None, rounds=ROUNDS, calls=20)
    identities = gallery.identify_many(photos)
    if len(gallery) != TEMPLATES or any(not np.isfinite(i.distance) for i in identities):
        raise RuntimeError("the gallery does not hold what it should")
    return [
        ratio(
            f"enroll and identify {PHOTOS} images, {TEMPLATES:,} templates / embed them twice",
            both, 2 * bare, LIMIT,
        ),
        ratio(f"identify among {TEMPLATES:,} templates / embed", one, single, LIMIT),
        Figure(
            f"search alone, {TEMPLATES:,} x {DIMENSIONS}", search * 1000, "ms", float("inf")
        ),
    ]  # fmt: skip


def _model(folder: Path) -> Path:
    keras.utils.set_random_seed(0)
    backbone = kd.models.MobileNetV2(input_shape=(224, 224, 3), include_top=False)
    pixels = np.random.default_rng(0).integers(0, 256, (100, 224, 224, 3)).astype("uint8")
    normalization = kd.data.Normalization(127.5, 127.5)
    for _ in range(20):  # fresh statistics give all but zeros, which have no direction
        backbone(normalization(pixels[:8]), training=True)
    return kd.export.to_tflite(
        kd.models.embedding_model(backbone, DIMENSIONS), folder / "model.tflite",
        quantization="int8",
        calibration=kd.data.pipeline(pixels, np.zeros(100, int), normalization=normalization),
    ).path  # fmt: skip


def _gallery(path: Path, embedder: ImageEmbedder) -> Gallery:
    """Make a gallery of random unit vectors, which would take minutes to embed."""
    vectors = np.random.default_rng(0).normal(size=(TEMPLATES, DIMENSIONS)).astype("float32")
    content = GalleryContent(
        model=file_hash(embedder.model_file.content),
        settings=embedder.settings,
        match="nearest",
        metric="cosine",
        threshold=None,
        labels=tuple(f"class {row % CLASSES}" for row in range(TEMPLATES)),
        vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
    )
    path.write_bytes(pack(content))
    return Gallery.load(path, embedder)
