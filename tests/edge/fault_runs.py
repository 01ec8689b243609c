"""Runs files in a child process that stands for the user's, to see whether it lives.

python fault_runs.py files FILES.pickle START SECONDS   two lines for each file; trusted if 0
python fault_runs.py soak MODEL.tflite CALLS THREADS    memory and wrong answers
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]


@dataclass
class Outcomes:
    """How runs of files ended.

    Attributes:
        counts: How many ended in each way: `"ran"`, or the name of an exception.
        deaths: The numbers of those at which the process ended, with its exit code.
        milliseconds: Time from the bytes of each file to its verdict.
        reasons: What `ModelStopped` said, without the name of the file.
    """

    counts: Counter[str] = field(default_factory=Counter)
    deaths: list[tuple[int, int]] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)


def run_files(files: Sequence[bytes], *, untrusted: bool, seconds: float = 5.0) -> Outcomes:
    """Open each file as a classifier and run it on an image; go on behind one that ends the child.

    Args:
        files: The files.
        untrusted: Whether to pass `untrusted=`.
        seconds: The limit that an untrusted one has; a trusted one is killed after ten times that.
    """
    outcomes, start = Outcomes(), 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "files.pickle"
        path.write_bytes(pickle.dumps([*files]))
        while start < len(files):
            order = ["files", path, start, seconds if untrusted else 0]
            with _child(*order, stdout=subprocess.PIPE) as child:
                at = _follow(child, outcomes, 600.0 if untrusted else 10 * seconds)
            if child.returncode == 0:
                break
            if at < start:
                raise RuntimeError(f"the child ended before it opened a file: {child.returncode}")
            outcomes.deaths.append((at, child.returncode))
            start = at + 1
    return outcomes


def soak(model: Path, calls: int, threads: int) -> dict[str, Any]:
    """Classify images from several threads in a child, and return what it measured."""
    with _child("soak", model, calls, threads, stdout=subprocess.PIPE) as child:
        return json.loads(child.communicate()[0])


def _child(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, **options)


def _follow(child: subprocess.Popen[bytes], outcomes: Outcomes, patience: float) -> int:
    """Collect the lines of a child; return the number of its last file."""
    at = -1
    watchdog = threading.Timer(patience, child.kill)
    for line in child.stdout or ():
        watchdog.cancel()
        watchdog = threading.Timer(patience, child.kill)
        watchdog.start()
        what = json.loads(line)
        if isinstance(what, int):
            at = what
            continue
        outcomes.counts[what["ended"]] += 1
        outcomes.milliseconds.append(what["ms"])
        if what["ended"] == "ModelStopped":
            outcomes.reasons[what["said"]] += 1
    watchdog.cancel()
    return at


def _run_files(path: str, start: str, seconds: str) -> None:
    from keras_dlcourse.edge import ImageClassifier, InvalidModel, Limits
    from keras_dlcourse.edge.runtime.worker_process import WorkerProcess

    files = pickle.loads(Path(path).read_bytes())
    untrusted = Limits(seconds=float(seconds)) if float(seconds) else False
    if untrusted:  # the worker's start is not the time of a file
        WorkerProcess.take().give_back()
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    for number in range(int(start), len(files)):
        print(number, flush=True)
        began, ended, said, opened = time.perf_counter(), "ran", "", None
        try:
            opened = ImageClassifier(files[number], mean=73, std=90, untrusted=untrusted)
            opened.scores([image])
        except (InvalidModel, ValueError) as error:
            ended, said = type(error).__name__, " ".join(str(error).split(";")[0].split()[5:])
        ms = 1000 * (time.perf_counter() - began)
        if opened is not None:
            opened.close()
        print(json.dumps({"ended": ended, "ms": ms, "said": said}), flush=True)


def _soak(model: str, calls: str, threads: str) -> None:
    from PIL import Image

    from keras_dlcourse.edge import ImageClassifier, InvalidImage

    classifier = ImageClassifier(model)
    rng = np.random.default_rng(0)
    height, width, channels = classifier.input_shape
    images: list[Any] = [*rng.integers(0, 256, (32, height, width, channels), np.uint8)]
    with io.BytesIO() as file:
        Image.fromarray(images[0]).save(file, "PNG")
        png = file.getvalue()
    images += [png, Image.fromarray(images[1])]
    expected = [classifier.classify(image) for image in images]
    bad = [png[:-30], b"", b"GIF89a" + bytes(9), png[:40] + b"\xff" * 9 + png[49:]]
    wrong: list[str] = []

    def work(count: int, seed: int) -> None:
        chance = random.Random(seed)
        for number in range(count):
            if number % 10 == 9:
                try:
                    classifier.classify(chance.choice(bad))
                    wrong.append("a bad image was classified")
                except InvalidImage:
                    pass
            else:
                which = chance.randrange(len(images))
                if classifier.classify(images[which]) != expected[which]:
                    wrong.append(f"image {which}")

    sizes = []
    rounds = 10
    for number in range(rounds):
        each = int(calls) // rounds // int(threads)
        runners = [
            threading.Thread(target=work, args=(each, number * int(threads) + n))
            for n in range(int(threads))
        ]
        for runner in runners:
            runner.start()
        for runner in runners:
            runner.join()
        sizes.append(_resident())
    print(json.dumps({"wrong": len(wrong), "sizes": sizes, "calls": each * rounds * int(threads)}))


def _resident() -> int:
    """Return the bytes that this process has in memory."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    {"files": _run_files, "soak": _soak}[sys.argv[1]](*sys.argv[2:])
