"""Sources for microcontrollers: the same bytes, the same answers, memory that is just enough."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from many_models import Compute
from small_models import CLASSES, images, randomise, small_classifier

import keras_dlcourse as kd
from keras_dlcourse.cli import main
from keras_dlcourse.export.checking.targets import TARGETS
from keras_dlcourse.export.shipping.micro import measure_arena, method_of

runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
layers = keras.layers


def digits():
    """A network for small grey pictures."""
    x = inputs = keras.Input((28, 28, 1))
    for filters in (8, 16):
        x = layers.MaxPooling2D()(layers.Conv2D(filters, 3, activation="relu")(x))
    x = layers.Dense(4, activation="softmax")(layers.Flatten()(x))
    return randomise(keras.Model(inputs, x, name="digits"))


def mobilenet():
    return randomise(
        kd.models.MobileNet(input_shape=(32, 32, 3), alpha=0.25, classes=4, weights=None)
    )


MAKERS = {"small": (small_classifier, 16, 3), "digits": (digits, 28, 1),
          "mobilenet": (mobilenet, 32, 3)}  # fmt: skip


@pytest.fixture(scope="module", params=MAKERS)
def made(request, tmp_path_factory):
    """A network as int8 file, its sources, and images for it."""
    make, size, channels = MAKERS[request.param]
    pixels = images(120, channels=channels, size=size)
    data = kd.data.pipeline(
        pixels, np.zeros(120, int), class_names=CLASSES,
        normalization=kd.data.Normalization(110.0, 70.0),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp(request.param)
    file = kd.export.to_tflite(
        make(), folder / "m.tflite", quantization="int8", calibration=data, input_dtype="int8",
        output_dtype="int8", rgb=False,
    )  # fmt: skip
    return file, kd.export.micro(file, folder / "micro"), pixels[:20]


def array(folder: Path) -> bytes:
    source = (folder / "model_data.cc").read_text()
    body = re.search(r"kModel\[kModelLength\] = \{(.*?)\};", source, re.S).group(1)
    return bytes(int(number, 16) for number in re.findall(r"0x[0-9a-f]{2}", body))


def ask_micro(content: bytes, inputs, arena: int):
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=arena)
    outputs = []
    for one in inputs:
        interpreter.set_input(one[None], 0)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0).copy())
    return np.concatenate(outputs).astype(int)


def ask_litert(content: bytes, inputs, kernels):
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    outputs = []
    for one in inputs:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], one[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return np.concatenate(outputs).astype(int)


def test_array_is_the_file(made):
    file, result, _ = made
    content = file.path.read_bytes()
    assert array(result.folder) == content
    assert (result.folder / "model.tflite").read_bytes() == content
    assert result.bytes == len(content)
    assert (result.folder / "labels.txt").read_text().split() == list(CLASSES)
    assert set(result.files) == {path.name for path in result.folder.iterdir()}


def test_arena_is_just_enough(made):
    from keras_dlcourse.export.shipping.arena import fits

    file, result, pixels = made
    content = file.path.read_bytes()
    assert fits(content, result.arena_minimum)
    assert not fits(content, result.arena_minimum - 16)
    assert result.arena_minimum * 1.125 <= result.arena_bytes <= result.arena_minimum * 1.125 + 1024
    assert result.arena_bytes % 1024 == 0
    ask_micro(content, (pixels[:1].astype(int) - 128).astype("int8"), result.arena_minimum)


def test_answers_like_litert(made):
    """Within a step of the reference kernels, which are those of microcontrollers."""
    file, result, pixels = made
    content = array(result.folder)
    inputs = (pixels.astype(int) - 128).astype("int8")
    ours = ask_micro(content, inputs, result.arena_bytes)
    assert np.ptp(ours, axis=0).max() > 5  # else agreement would prove nothing
    theirs = ask_litert(content, inputs, OpResolverType.BUILTIN_REF)
    assert np.abs(ours - theirs).max() <= 1
    assert (ours == theirs).mean() > 0.97


def test_trained_network_answers_like_the_default_kernels(tmp_path):
    """Random networks blow up the last step's rounding; trained ones stay within one step."""
    data = kd.data.load("fashion_mnist_small")
    x = inputs = keras.Input((28, 28, 1))
    for filters in (8, 16):
        x = layers.MaxPooling2D()(layers.Conv2D(filters, 3, activation="relu")(x))
    model = keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x)))
    model.compile(
        keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    keras.utils.set_random_seed(0)
    train = data.normalization(data.train.x[:3000])
    model.fit(train, data.train.y[:3000], epochs=2, verbose=0)
    file = kd.export.to_tflite(
        model, tmp_path / "m.tflite", quantization="int8", calibration=data.train,
        input_dtype="int8", output_dtype="int8", rgb=False,
    )  # fmt: skip
    content = file.path.read_bytes()
    inputs = (data.test.x[:200].astype(int) - 128).astype("int8")
    ours = ask_micro(content, inputs, measure_arena(content))
    assert (ours.argmax(1) == data.test.y[:200]).mean() > 0.6
    assert np.abs(ours - ask_litert(content, inputs, OpResolverType.AUTO)).max() <= 1


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
class TestCompiles:
    def test_data(self, made, tmp_path):
        """Compiled and linked, the program holds the very bytes, aligned, and the names."""
        file, result, _ = made
        (tmp_path / "main.cc").write_text(
            '#include "model_data.h"\n#include <cstdio>\n'
            "int main() {\n"
            "  if (reinterpret_cast<std::uintptr_t>(kModel) % 16) return 2;\n"
            '  for (int i = 0; i < kLabelCount; ++i) std::fprintf(stderr, "%s\\n", kLabels[i]);\n'
            "  return std::fwrite(kModel, 1, kModelLength, stdout) == kModelLength ? 0 : 1;\n}\n"
        )
        program = tmp_path / "program"
        strict = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-pedantic"]
        subprocess.run(
            ["g++", *strict, f"-I{result.folder}", tmp_path / "main.cc",
             result.folder / "model_data.cc", "-o", program],
            check=True,
        )  # fmt: skip
        done = subprocess.run([program], capture_output=True, check=True)
        assert done.stdout == file.path.read_bytes()
        assert done.stderr.decode().split() == list(CLASSES)

    def test_example(self, made, tmp_path):
        """The example is right C++ against the interface that it uses."""
        _, result, _ = made
        micro = tmp_path / "tensorflow" / "lite" / "micro"
        micro.mkdir(parents=True)
        (tmp_path / "tensorflow" / "lite" / "schema").mkdir()
        adds = "".join(f"  TfLiteStatus {name}();\n" for name in result.operators)
        (micro / "micro_mutable_op_resolver.h").write_text(
            "#pragma once\nenum TfLiteStatus { kTfLiteOk, kTfLiteError };\n"
            "#define TF_LITE_ENSURE_STATUS(a) if (auto s = (a); s != kTfLiteOk) return s\n"
            f"namespace tflite {{ template <unsigned n> struct MicroMutableOpResolver {{\n{adds}}};"
            "}\n"
        )
        (micro / "micro_log.h").write_text("#pragma once\nvoid MicroPrintf(const char*, ...);\n")
        (tmp_path / "tensorflow" / "lite" / "schema" / "schema_generated.h").write_text(
            "#pragma once\nnamespace tflite { struct Model; const Model* GetModel(const void*); }\n"
        )
        (micro / "micro_interpreter.h").write_text(
            "#pragma once\n#include <cstddef>\n#include <cstdint>\n"
            '#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"\n'
            "namespace tflite { struct Model; struct MicroInterpreter {\n"
            "  template <unsigned n> MicroInterpreter(const Model*, MicroMutableOpResolver<n>&,\n"
            "    std::uint8_t*, std::size_t);\n"
            "  TfLiteStatus AllocateTensors(); TfLiteStatus Invoke();\n"
            "  std::size_t arena_used_bytes() const;\n"
            "  template <class T> T* typed_input_tensor(int);\n"
            "  template <class T> T* typed_output_tensor(int); }; }\n"
        )
        subprocess.run(
            ["g++", "-std=c++17", "-Wall", "-fsyntax-only", f"-I{tmp_path}", f"-I{result.folder}",
             result.folder / "example.cc"],
            check=True,
        )  # fmt: skip
        assert (
            f"MicroMutableOpResolver<{len(result.operators)}>"
            in (result.folder / "example.cc").read_text()
        )


def test_operators_are_those_of_the_graph(made):
    file, result, _ = made
    names = {op.name for op in kd.edge.ModelFile.read(file.path).operators}
    assert result.operators == tuple(sorted(method_of(name) for name in names))
    assert {"AddConv2D", "AddSoftmax"} <= set(result.operators)


def test_methods_are_named_as_in_the_library():
    """Names taken from micro_mutable_op_resolver.h of TensorFlow Lite Micro."""
    known = {
        "CONV_2D": "AddConv2D", "AVERAGE_POOL_2D": "AddAveragePool2D", "ADD_N": "AddAddN",
        "L2_POOL_2D": "AddL2Pool2D", "L2_NORMALIZATION": "AddL2Normalization",
        "BATCH_TO_SPACE_ND": "AddBatchToSpaceNd", "CUMSUM": "AddCumSum", "PADV2": "AddPadV2",
        "RELU6": "AddRelu6", "SPLIT_V": "AddSplitV", "LEAKY_RELU": "AddLeakyRelu",
        "RESIZE_NEAREST_NEIGHBOR": "AddResizeNearestNeighbor", "ELU": "AddElu",
    }  # fmt: skip
    assert {name: method_of(name) for name in known} == known
    assert all(
        re.fullmatch(r"Add[A-Z0-9]\w+", method_of(n)) for n in TARGETS["tflite-micro"].operators
    )


class TestRefused:
    def test_file_that_does_not_run_there(self, files, tmp_path):
        with pytest.raises(ValueError, match="does not run on TensorFlow Lite Micro: DEQ"):
            kd.export.micro(files["float16"], tmp_path / "micro")
        assert list(tmp_path.iterdir()) == []

    def test_folder_with_something_in_it(self, files, tmp_path):
        (tmp_path / "mine.txt").write_text("keep")
        with pytest.raises(FileExistsError, match="not empty"):
            kd.export.micro(files["int8"], tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

    def test_model_that_no_arena_fits(self, tmp_path):
        model = keras.Sequential(
            [keras.Input((4,)), Compute(lambda x: keras.ops.gelu(x, approximate=False))]
        )
        path = kd.export.to_tflite(
            model, tmp_path / "m.tflite", preprocessing=kd.data.Normalization.identity()
        ).path
        with pytest.raises(ValueError, match="does not run in tflite-micro"):
            measure_arena(path.read_bytes())

    def test_without_tflite_micro(self, files, tmp_path, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ImportError, match=r"pip install 'keras-dlcourse\[micro\]'"):
            kd.export.micro(files["int8"], tmp_path / "micro")


def test_labels_of_any_script(classifier, tmp_path):
    names = ('a "quoted" one', "back\\slash", "überall", "日本")
    file = kd.export.to_tflite(
        classifier,
        tmp_path / "m.tflite",
        labels=names,
        preprocessing=kd.data.Normalization.identity(),
    )
    result = kd.export.micro(file, tmp_path / "micro")
    assert result.labels == names
    source = (result.folder / "model_data.cc").read_text()
    assert '"a \\"quoted\\" one"' in source and "überall" in source
    assert "float" in (result.folder / "model_data.h").read_text()


def test_command(classifier, normalization, tmp_path, capsys):
    from PIL import Image

    classifier.save(tmp_path / "m.keras")
    (tmp_path / "photos").mkdir()
    for number, pixels in enumerate(images(110)):
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    words = ["export", tmp_path / "m.keras", "-o", tmp_path / "firmware", "--target",
             "microcontroller", "--mean", "110", "--std", "70"]  # fmt: skip
    assert main([*map(str, words)]) == 2
    assert "--quantization int8 needs --calibration" in capsys.readouterr().err
    assert main([*map(str, words), "--calibration", str(tmp_path / "photos")]) == 0
    assert "bytes for the arena" in capsys.readouterr().out
    header = (tmp_path / "firmware" / "model_data.h").read_text()
    assert "using InputType = int8_t;" in header
    assert "kInputZeroPoint = -18;" in header
