"""Damaged `.tflite` and gallery files: whether a process that opens them lives, and says why not.

The files, their damage and the runs are those of tests/edge; each run is a child process that
stands for the user's, so that its death counts. Figures of `tflite_faults(count, untrusted=True)`,
`tflite_faults(count, untrusted=False)`, `gallery_faults(count)` and `classify_soak(calls)`.
"""

from __future__ import annotations

import functools
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _figures import Figure

from keras_dlcourse.edge import InvalidGallery
from keras_dlcourse.edge.search.gallery_file import GalleryContent, pack, unpack
from keras_dlcourse.retrieval.index_file import InvalidIndex, read_index, write_index

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/edge"))
from fault_models import fault_models
from fault_runs import run_files, soak
from mutations import mutated_files, mutations

VERDICT_MS = 50.0


def measure() -> list[Figure]:
    return [
        *tflite_faults(10_000, untrusted=True),
        *tflite_faults(2_000, untrusted=False, seed=1),
        *gallery_faults(1_000),
        *classify_soak(1_000_000),
    ]


def tflite_faults(count: int, *, untrusted: bool, seed: int = 0) -> list[Figure]:
    """Open and run damaged copies of some small files.

    Args:
        count: How many.
        untrusted: Whether in `untrusted` mode.
        seed: Of the damage.
    """
    files = list(mutated_files(list(_models().values()), count, seed))
    outcomes = run_files(files, untrusted=untrusted)
    mode = "untrusted" if untrusted else "default"
    counts = outcomes.counts
    slow = sum(ms > VERDICT_MS for ms in outcomes.milliseconds)
    verdicts = "50 %, 99 % and all of them took no longer than " + ", ".join(
        f"{ms:.1f}" for ms in np.percentile(outcomes.milliseconds, (50, 99, 100))
    )
    detail = ", ".join(f"{number} {ended}" for ended, number in counts.most_common())
    return [
        Figure(f"deaths, {count:,} damaged .tflite files, {mode} mode", len(outcomes.deaths), "",
               0, detail=f"{detail}; {dict(outcomes.reasons) or 'none stopped'}"),
        Figure(f"verdicts without an answer, {mode} mode",
               count - len(outcomes.deaths) - sum(counts.values()), "", 0),
        Figure(f"verdicts above {VERDICT_MS:g} ms, {mode} mode", 100 * slow / count, "%", 1,
               detail=f"{verdicts} ms"),
    ]  # fmt: skip


def gallery_faults(count: int, *, seed: int = 0) -> list[Figure]:
    """Read damaged copies of a gallery's file and of an index's file."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(6, 4)).astype("float32")
    gallery = GalleryContent("0" * 64, {}, "nearest", "cosine", 0.5, tuple("aabbcc"), vectors)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "it.kdindex"
        write_index(path, {"metric": "cosine"}, {"vectors": vectors})

        def index(content: bytes) -> object:
            path.write_bytes(content)
            return read_index(path)

        return [
            _refused("galleries", pack(gallery), lambda data: unpack(data, "it"), count, seed),
            _refused("indices", path.read_bytes(), index, count, seed),
        ]


def _refused(
    what: str, content: bytes, read: Callable[[bytes], object], count: int, seed: int
) -> Figure:
    """Count the damaged copies that are read as if they were whole."""
    accepted = changed = 0
    for data in mutations(content, count, seed):
        changed += data != content
        try:
            read(data)
        except (InvalidGallery, InvalidIndex):
            continue
        accepted += data != content
    return Figure(f"damaged {what} that are read", accepted, "", 0, detail=f"{changed:,} damaged")


def classify_soak(calls: int, threads: int = 4) -> list[Figure]:
    """Classify from several threads, bad images in between, beside the answers of one thread.

    Memory is that of the child after each tenth of the calls: the last beside the first.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(_models()["metadata"])
        found = soak(path, calls, threads)
    first, last = found["sizes"][0], statistics.median(found["sizes"][-3:])
    what = f"{found['calls']:,} calls of classify from {threads} threads"
    detail = f"{first / 1e6:.1f} and {last / 1e6:.1f} MB"
    return [
        Figure(f"{what}: wrong answers", found["wrong"], "", 0),
        Figure(f"{what}: growth of memory", 100 * (last / first - 1), "%", 2, detail=detail),
    ]


@functools.cache
def _models() -> dict[str, bytes]:
    return fault_models()
