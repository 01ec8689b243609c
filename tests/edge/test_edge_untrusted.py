"""Untrusted models: the same answers, and nothing that they do ends this process."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tflite_files import MEAN, STD

from keras_dlcourse.edge import ImageClassifier, ImageEmbedder, InvalidModel, Limits, ModelStopped
from keras_dlcourse.edge.runtime import wire
from keras_dlcourse.edge.runtime.sandbox import Sandbox
from keras_dlcourse.edge.runtime.worker_process import WorkerProcess

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def children(process: int) -> list[int]:
    """Return the processes that one has started, and has not yet waited for."""
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
            found += map(int, (task / "children").read_text().split())
    return found


def model_process(model: ImageClassifier) -> int:
    """Return the process in which an untrusted model runs."""
    (found,) = children(model._session._worker._process.pid)
    return found


def in_reserve() -> int:
    """Return how many workers wait for the next model."""
    return WorkerProcess._spare is not None and WorkerProcess._spare.is_alive


@pytest.fixture
def model(described):
    with ImageClassifier(described(), untrusted=True) as classifier:
        yield classifier


@pytest.mark.parametrize(
    ("io_type", "batch"),
    [("float32", 1), ("float32", None), ("float32", 4), ("uint8", 1), ("int8", 1), ("int16", 1)],
)
def test_same_answers_to_the_bit(described, network, io_type, batch):
    images, content = network.images(37, seed=3), described(io_type, batch)
    expected = ImageClassifier(content)
    with ImageClassifier(content, untrusted=True) as classifier:
        for count in (37, 1, 5):
            found = classifier.run(images[:count])
            for ours, theirs in zip(found, expected.run(images[:count]), strict=True):
                np.testing.assert_array_equal(ours, theirs)
        assert classifier.classify(images[0]) == expected.classify(images[0])
        assert classifier.runtime == expected.runtime


def test_an_embedder(embedder_file, embedding):
    image = embedding.images(1)[0]
    with ImageEmbedder(embedder_file(), untrusted=Limits(seconds=20)) as embedder:
        np.testing.assert_array_equal(
            embedder.embed(image), ImageEmbedder(embedder_file()).embed(image)
        )


@LINUX
@pytest.mark.parametrize(
    ("number", "message"),
    [
        (signal.SIGSEGV, r"the model of \d+ bytes crashed \(SIGSEGV\)"),
        (signal.SIGKILL, r"was killed \(SIGKILL\)"),
    ],
)
def test_a_crash_is_an_exception_and_the_next_call_runs(model, network, number, message):
    image = network.images(1)[0]
    expected = model.classify(image)
    os.kill(model_process(model), number)
    with pytest.raises(ModelStopped, match=message):
        model.classify(image)
    assert model.classify(image) == expected


@LINUX
def test_a_model_that_hangs_is_stopped(described, network):
    image = network.images(1)[0]
    with ImageClassifier(described(), untrusted=Limits(seconds=0.5)) as model:
        expected, worker = model.classify(image), model._session._worker
        hanging = model_process(model)
        os.kill(hanging, signal.SIGSTOP)
        with pytest.raises(ModelStopped, match=r"took longer than 0\.5 s"):
            model.classify(image)
        assert not worker.is_alive
        assert not Path(f"/proc/{hanging}").exists()
        assert model.classify(image) == expected


@LINUX
def test_memory_is_limited(plain):
    limits = Limits(memory=64 << 20)
    sandbox = Sandbox(plain(batch=None), "it", None, limits)
    one = sandbox.run(np.zeros((1, 12, 10, 3), "float32"))
    with pytest.raises(InvalidModel, match="it"):
        sandbox.run(np.zeros((40_000, 12, 10, 3), "float32"))  # 58 MB, and as much for each step
    with pytest.raises(ModelStopped, match="was given 144000000 bytes of input"):
        sandbox.run(np.zeros((100_000, 12, 10, 3), "float32"))
    np.testing.assert_array_equal(sandbox.run(np.zeros((1, 12, 10, 3), "float32"))[0], one[0])
    sandbox.close()


def test_a_file_that_needs_more_than_it_may_take_is_not_opened(described):
    with pytest.raises(ModelStopped, match="needs at least 0 MiB of memory for its values"):
        ImageClassifier(described(), untrusted=Limits(memory=100))


def test_what_the_runtime_refuses(plain):
    from tflite_files import change

    content = change(plain(), lambda model: setattr(model.operatorCodes[0], "version", 99))
    with pytest.raises(InvalidModel, match="rejected the model of"):
        ImageClassifier(content, mean=MEAN, std=STD, untrusted=True)
    with pytest.raises(ValueError, match="threads must be an integer of at least 1"):
        ImageClassifier(plain(), mean=MEAN, std=STD, threads=0, untrusted=True)


@pytest.mark.parametrize("untrusted", [False, True])
def test_closed(described, network, untrusted):
    with ImageClassifier(described(), untrusted=untrusted) as model:
        model.run(network.images(1))
    with pytest.raises(ValueError, match="is closed. Open it again"):
        model.run(network.images(1))
    model.close()


@LINUX
def test_no_process_is_left(described, network):
    def workers():
        return sum("edge.runtime.worker" in command(n) for n in children(os.getpid()))

    def command(process):
        return Path(f"/proc/{process}/cmdline").read_text()

    gc.collect()
    before = workers() - in_reserve()
    models = [ImageClassifier(described(), untrusted=True) for _ in range(3)]
    assert workers() - before == 3
    models[0].close()
    assert in_reserve() and workers() - before == 3
    del models
    gc.collect()
    assert workers() - before == 1  # the one in reserve
    assert children(WorkerProcess._spare._process.pid) == []


def test_several_threads_and_models(described, network):
    images = network.images(20, seed=8)
    expected = ImageClassifier(described()).scores(images)
    shared = ImageClassifier(described(), untrusted=True)
    wrong = []

    def work(model):
        for image, scores in zip(images, expected, strict=True):
            if not np.array_equal(model.scores([image])[0], scores):
                wrong.append(image)

    own = ImageClassifier(described(), untrusted=True)
    runners = [threading.Thread(target=work, args=(m,)) for m in (shared, shared, own)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    assert not wrong
    shared.close()
    own.close()


SCRIPT = """
import os, sys
import numpy as np
from keras_dlcourse.edge import ImageClassifier

print("the script runs", flush=True)
model = ImageClassifier(sys.argv[1], untrusted=True)
image = np.zeros((12, 10, 3), "uint8")
expected = ImageClassifier(sys.argv[1]).classify(image)
assert model.classify(image) == expected
child = os.fork()
if child == 0:
    os._exit(0 if model.classify(image) == expected else 1)
assert os.waitpid(child, 0)[1] == 0
assert model.classify(image) == expected
"""


@LINUX
@pytest.mark.parametrize("python", ["this", "board"])
def test_scripts_without_a_guard_forks_and_the_older_runtime(described, tmp_path, python):
    """The user's script is not run again by the worker, and its forks have workers of their own."""
    if python == "board" and "KD_RUNTIME_PYTHON" not in os.environ:
        pytest.skip("KD_RUNTIME_PYTHON names no interpreter that has tflite-runtime")
    program = sys.executable if python == "this" else os.environ["KD_RUNTIME_PYTHON"]
    (tmp_path / "model.tflite").write_bytes(described("uint8"))
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "numpy.py").write_text("raise SystemError('the folder of the user is searched')")
    child = subprocess.run(
        [program, "-P", tmp_path / "script.py", tmp_path / "model.tflite"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": os.environ["PATH"]},
        timeout=500,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.count("the script runs") == 1


def test_a_worker_without_runtime_says_so(described, tmp_path, monkeypatch):
    for module in ("ai_edge_litert", "tflite_runtime", "tensorflow"):
        (tmp_path / f"{module}.py").write_text("raise ImportError('not here')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(WorkerProcess, "_spare", None)
    with pytest.raises(ImportError, match="needs a LiteRT interpreter.*not here"):
        ImageClassifier(described(), untrusted=True)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"arrays": [["float32", [1, 4]]]}, "sent an unreadable answer"),
        ({"arrays": [["object", [1]]]}, "sent an unreadable answer"),
        ({"arrays": 3}, "sent an unreadable answer"),
        ({}, "sent an unreadable answer"),
        ({"arrays": [["float32", [1, 1]]]}, "for 1 images it returns the shapes"),
        ({"error": "a\nlong " + "x" * 9999}, "^along x{100}"),
    ],
)
def test_odd_answers_of_a_worker(model, network, monkeypatch, answer, message):
    monkeypatch.setattr(WorkerProcess, "ask", lambda *_: (answer, bytearray(4)))
    with pytest.raises(InvalidModel, match=message) as caught:
        model.run(network.images(1))
    assert len(str(caught.value)) < 1000
    monkeypatch.undo()
    model.run(network.images(1))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"seconds": 0}, ValueError, "seconds must be a number above 0 and at most"),
        ({"seconds": float("nan")}, ValueError, "seconds must be a number above 0"),
        ({"seconds": None}, TypeError, "seconds must be a number above 0"),
        ({"memory": 0}, ValueError, "memory must be an integer from 1"),
        ({"memory": 1.5}, TypeError, "memory must be an integer from 1"),
    ],
)
def test_limits_out_of_range(arguments, error, message):
    with pytest.raises(error, match=message):
        Limits(**arguments)


def test_limits_are_numbers_of_python_which_the_other_process_understands():
    limits = Limits(seconds=np.float32(2), memory=np.int64(1 << 20))
    assert (type(limits.seconds), type(limits.memory)) == (float, int)
    assert limits == Limits(2.0, 1 << 20)


def test_messages_come_back():
    arrays = [
        np.arange(6, dtype="int8").reshape(2, 3),
        np.zeros((0, 4)),
        np.array(2.5),
    ]
    stream = io.BytesIO()
    wire.send(stream, {"arrays": wire.describe_arrays(arrays)}, arrays)
    stream.seek(0)
    head, body = wire.receive(stream, 100)
    for ours, theirs in zip(wire.parse_arrays(head["arrays"], body), arrays, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    stream.seek(0)
    with pytest.raises(wire.BadMessage, match="bytes"):
        wire.receive(stream, 5)


@given(st.binary(max_size=60), st.binary(max_size=30))
def test_anything_else_is_a_bad_message(head, body):
    lengths = len(head).to_bytes(4, "little") + len(body).to_bytes(8, "little")
    for content in (head + body, lengths + head + body):
        with contextlib.suppress(wire.BadMessage, EOFError):
            wire.receive(io.BytesIO(content), 1 << 20)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["int8"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
)


@given(JSON, st.binary(max_size=30))
def test_descriptions_of_any_kind(descriptions, body):
    with contextlib.suppress(wire.BadMessage):
        wire.parse_arrays(descriptions, bytearray(body))


def test_the_commands_take_it(described, network, tmp_path, capsys):
    from PIL import Image

    from keras_dlcourse.edge.__main__ import main

    (tmp_path / "m.tflite").write_bytes(described())
    Image.fromarray(network.images(1)[0]).save(tmp_path / "a.png")
    arguments = ["classify", str(tmp_path / "m.tflite"), str(tmp_path / "a.png")]
    assert main(arguments) == 0
    plain = capsys.readouterr().out
    assert main([*arguments, "--untrusted"]) == 0
    assert capsys.readouterr().out == plain
