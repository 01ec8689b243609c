"""Verdicts agree with what the runtimes do when they are given the same files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import flatbuffers
import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as tflite
from ai_edge_litert.interpreter import Interpreter
from foreign_files import detection_end, open_length, open_sides, unknown_operator, with_state
from many_models import FLOAT_ONLY, MODELS, SHAPE, build
from small_models import images, small_classifier

import keras_dlcourse as kd
from keras_dlcourse.cli import main
from keras_dlcourse.edge import ModelFile
from keras_dlcourse.export.checking.targets import TARGETS

SCHEMES = ("float32", "float16", "dynamic", "int8", "int16x8")
CALIBRATION = np.random.default_rng(0).normal(0, 1, (104, *SHAPE)).astype("float32")
# Where runtimes differ most, so that each rule is met by files that keep it and that break it.
SELECTED = [
    ("gelu", "int8"), ("gelu", "int16x8"), ("selu", "float32"), ("exponential", "int8"),
    ("softplus", "int8"), ("hard_silu", "int8"), ("hard_silu", "int16x8"), ("softmax", "int8"),
    ("softsign", "int8"), ("nearest", "int8"), ("nearest", "int16x8"), ("bilinear", "int16x8"),
    ("transposed", "dynamic"), ("transposed_norm", "dynamic"), ("grouped", "dynamic"),
    ("wide_conv", "dynamic"), ("wide_depthwise", "dynamic"), ("wide_transposed", "dynamic"),
    ("wide_lstm", "dynamic"), ("grouped", "float16"), ("depthwise", "float16"),
    ("layer_norm", "int16x8"),
    ("unit_norm", "int16x8"), ("global_max", "int16x8"), ("gather", "int16x8"), ("lstm", "float32"),
    ("lstm_unrolled", "int8"), ("attention", "dynamic"), ("log", "int8"), ("mirror", "int16x8"),
    ("squeeze_excite", "int8"), ("sign", "float32"), ("power", "float32"),
]  # fmt: skip


def pythons():
    """Interpreter and version of each runtime that is to be asked here."""
    board = os.environ.get("KD_RUNTIME_PYTHON")
    here = dict.fromkeys(("ai-edge-litert", "tflite-micro", "mediapipe"), sys.executable)
    return here | ({"tflite-runtime": board} if board else {})


def reality(runtime: str, paths: list[Path]) -> dict[str, tuple[int, str]]:
    """What each file did on the runtime: exit code and what was said."""
    if runtime not in pythons():
        pytest.skip("KD_RUNTIME_PYTHON names no interpreter with tflite-runtime")
    script = Path(__file__).with_name("run_on.py")
    done = subprocess.run(
        [pythons()[runtime], script, runtime, *map(str, paths)],
        capture_output=True, text=True, check=True, timeout=550,
    )  # fmt: skip
    found = json.loads(done.stdout)
    if "absent" in found:
        pytest.skip(f"{runtime} cannot be loaded here: {found['absent']}")
    assert set(found) == set(map(str, paths))
    return found


def disagreements(runtime: str, paths: list[Path]) -> tuple[list[str], set[str]]:
    """Files whose verdict is not what happened, and which verdicts there were."""
    wrong, seen = [], set()
    for path, (code, said) in reality(runtime, paths).items():
        verdict = kd.export.preflight(path, [runtime], trials=False)[runtime]
        seen.add(verdict.runs)
        if verdict.runs == "unknown":
            wrong += [] if verdict.reasons else [f"{path}: no reason"]
        elif (verdict.runs == "yes") != (code == 0):
            wrong.append(
                f"{path}: {verdict.runs} {[*map(str, verdict.reasons)]}, but {code} {said}"
            )
    return wrong, seen


def write(folder: Path, pairs) -> list[Path]:
    paths = []
    for name, scheme in pairs:
        path = folder / f"{name}.{scheme}.tflite"
        calibration = CALIBRATION if scheme in ("int8", "int16x8") else None
        try:
            kd.export.to_tflite(build(name), path, quantization=scheme, calibration=calibration)
        except (kd.export.ExportError, kd.edge.InvalidModel):
            continue  # refused with a reason: there is no file to judge
        paths.append(path)
        keras.backend.clear_session()
    return paths


@pytest.fixture(scope="module", params=range(2))
def selected(request, tmp_path_factory):
    """One half, then the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *args, **kwargs: None)  # islands are wanted here
        return write(tmp_path_factory.mktemp("selected"), SELECTED[request.param :: 2])


class TestAgreesWithReality:
    @pytest.mark.parametrize("runtime", ["ai-edge-litert", "tflite-runtime", "tflite-micro"])
    def test_selected(self, selected, runtime):
        wrong, seen = disagreements(runtime, selected)
        assert not wrong, "\n".join(wrong)
        assert len(selected) > 12
        assert {"yes", "no"} <= seen

    @pytest.mark.release
    @pytest.mark.parametrize("part", range(4))
    @pytest.mark.filterwarnings("ignore:.*is not all integer")
    def test_everything(self, tmp_path, part):
        """Every network in one scheme, in turn; with KD_ALL_SCHEMES=1 in each of them."""
        pairs = [
            (name, scheme)
            for turn, name in enumerate(sorted(MODELS)[part::4])
            for scheme in (SCHEMES if "KD_ALL_SCHEMES" in os.environ else [SCHEMES[turn % 5]])
            if scheme not in ("int8", "int16x8") or name not in FLOAT_ONLY
        ]
        paths = write(tmp_path, pairs)
        for runtime in pythons():
            if runtime != "mediapipe":
                wrong, _ = disagreements(runtime, paths)
                assert not wrong, "\n".join(wrong)

    def test_mediapipe(self, image_files):
        wrong, seen = disagreements("mediapipe", image_files)
        assert not wrong, "\n".join(wrong)
        assert {"yes", "no", "unknown"} <= seen

    def test_mediapipe_with_each_scheme_and_type(self, files, classifier, data, tmp_path):
        paths = [file.path for file in files.values()]
        for given, returned in (("int8", "int8"), ("uint8", "int8"), ("float32", "uint8")):
            types = {"input_dtype": given, "output_dtype": returned}
            path = tmp_path / f"{given}_{returned}.tflite"
            kd.export.to_tflite(classifier, path, calibration=data, quantization="int8", **types)
            paths.append(path)
        wrong, seen = disagreements("mediapipe", paths)
        assert not wrong, "\n".join(wrong)
        assert "yes" in seen

    def test_trials_say_what_happens(self, selected):
        """Where tflite-micro is installed it is asked; the table only explains."""
        pytest.importorskip("tflite_micro")
        truth = reality("tflite-micro", selected[:4])
        for path, (code, _) in truth.items():
            verdict = kd.export.preflight(path, ["tflite-micro"])["tflite-micro"]
            assert verdict.evidence == "tried here"
            assert (verdict.runs == "yes") == (code == 0)


@pytest.fixture(scope="module")
def image_files(tmp_path_factory):
    """Classifiers with and without what MediaPipe asks for."""
    folder = tmp_path_factory.mktemp("images")
    norm = kd.data.Normalization(110.0, 70.0)
    grey = kd.data.pipeline(images(channels=1), np.zeros(120, int), normalization=norm)
    made = {
        "grey": (small_classifier(1), {"preprocessing": norm, "rgb": False}),
        "rgb": (small_classifier(1), {"calibration": grey, "quantization": "int8", "rgb": True}),
        "no_labels": (small_classifier(), {"preprocessing": norm}),
        "per_channel": (
            small_classifier(),
            {"preprocessing": kd.data.Normalization((1.0, 2.0, 3.0), (5.0, 6.0, 7.0))},
        ),
        "batch2": (small_classifier(), {"preprocessing": norm, "batch": 2}),
        "open": (small_classifier(), {"preprocessing": norm, "batch": None}),
        "vector": (keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]), {}),
        "map": (keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)]),
                {"preprocessing": norm}),
    }  # fmt: skip
    image = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(image)
    made["two"] = (
        keras.Model(image, [keras.layers.Dense(n)(flat) for n in (2, 3)]),
        {"preprocessing": norm},
    )
    paths = []
    for name, (model, options) in made.items():
        paths.append(kd.export.to_tflite(model, folder / f"{name}.tflite", **options).path)
    paths.append(folder / "bare.tflite")
    paths[-1].write_bytes(without_metadata(paths[0].read_bytes()))
    return paths


def without_metadata(content: bytes) -> bytes:
    return rewritten(content, lambda model: setattr(model, "metadata", []))


def rewritten(content: bytes, change) -> bytes:
    """The file after a change of its parsed form."""
    model = tflite.ModelT.InitFromPackedBuf(content, 0)
    change(model)
    builder = flatbuffers.Builder(len(content) + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture
def bare(classifier, tmp_path):
    """A file without labels: programs that rewrite files drop those."""
    return kd.export.to_tflite(
        classifier, tmp_path / "bare.tflite", preprocessing=kd.data.Normalization.identity()
    ).path


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign")
    paths = {}
    for make in (detection_end, unknown_operator, with_state, open_sides, open_length):
        paths[make.__name__] = folder / f"{make.__name__}.tflite"
        paths[make.__name__].write_bytes(make())
    return paths


class TestFilesOfOthers:
    """Custom operators, operators that give nothing, and sizes left open; the runtimes decide."""

    @pytest.mark.parametrize("runtime", ["ai-edge-litert", "tflite-runtime", "tflite-micro"])
    def test_tables(self, foreign, runtime):
        known = [foreign[name] for name in ("detection_end", "unknown_operator", "with_state")]
        wrong, seen = disagreements(runtime, known)
        assert not wrong, "\n".join(wrong)
        assert seen == {"yes", "no"}

    def test_operators_that_give_nothing(self, foreign):
        assert any(not op.outputs for op in ModelFile.read(foreign["with_state"]).operators)
        found = kd.export.preflight(foreign["with_state"], trials=False)
        assert found["edge-tpu"].runs == found["gpu-delegate"].runs == "no"
        assert "CALL_ONCE: is not supported by the runtime" in map(str, found["edge-tpu"].reasons)

    def test_open_size_runs_after_resizing(self, foreign):
        """At the size in the file, 1, the interpreter refuses it."""
        content = foreign["open_sides"].read_bytes()
        with pytest.raises(RuntimeError):
            Interpreter(model_content=content).allocate_tensors()
        verdict = kd.export.preflight(foreign["open_sides"], ["ai-edge-litert"])["ai-edge-litert"]
        assert (verdict.runs, verdict.evidence) == ("yes", "tried here")

    def test_open_size_of_which_none_ran(self, foreign):
        verdict = kd.export.preflight(foreign["open_length"], ["ai-edge-litert"])["ai-edge-litert"]
        assert verdict.runs == "unknown"
        (reason,) = verdict.reasons
        assert "it ran with none of the sizes tried: " in reason.why
        assert "resize_tensor_input" in reason.fix
        assert "INFO" not in reason.why

    @pytest.mark.parametrize(
        ("log", "said"),
        [
            ("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nGather index out of bounds",
             "Gather index out of bounds"),
            ("I0000 00:00:17 file.cc:31] no\nW0000 00:00:17 f.cc:2] no\nERROR: yes", "ERROR: yes"),
        ],
    )  # fmt: skip
    def test_notes_are_no_reasons(self, files, monkeypatch, tmp_path, log, said):
        from keras_dlcourse.export.checking import trial

        script = tmp_path / "refuses.py"
        script.write_text(f"import sys\nprint({log!r}, file=sys.stderr)\nsys.exit({trial.REFUSED})")
        monkeypatch.setattr(trial, "__file__", str(script))
        verdict = kd.export.preflight(files["float32"], ["ai-edge-litert"])["ai-edge-litert"]
        assert verdict.reasons[0].why == f"rejected when tried: {said}"


class TestReasons:
    def test_names_operator_layer_and_fix(self, tmp_path):
        image = keras.Input((8, 8, 3))
        x = keras.layers.Conv2D(4, 3, activation="gelu", name="fancy")(image)
        path = kd.export.to_tflite(
            keras.Model(image, x),
            tmp_path / "m.tflite",
            preprocessing=kd.data.Normalization.identity(),
        ).path
        verdict = kd.export.preflight(path, ["tflite-micro"], trials=False)["tflite-micro"]
        assert verdict.runs == "no"
        (reason,) = verdict.reasons
        assert reason.operator == "GELU"
        assert "fancy" in reason.layer
        assert "relu6" in reason.fix

    def test_newer_version_than_the_runtime_knows(self, bare, tmp_path):
        def newer(model):
            for code in model.operatorCodes:
                if code.builtinCode == tflite.BuiltinOperator.FULLY_CONNECTED:
                    code.version = 12

        path = tmp_path / "m.tflite"
        path.write_bytes(rewritten(bare.read_bytes(), newer))
        found = kd.export.preflight(path, ["tflite-runtime", "ai-edge-litert"], trials=False)
        assert found["tflite-runtime"].runs == "no"
        assert "is version 12, but the runtime supports up to 10" in str(
            found["tflite-runtime"].reasons[0]
        )
        assert found["ai-edge-litert"].runs == "yes"

    def test_open_batch(self, classifier, tmp_path):
        path = kd.export.to_tflite(
            classifier,
            tmp_path / "m.tflite",
            batch=None,
            preprocessing=kd.data.Normalization.identity(),
        ).path
        found = kd.export.preflight(path, trials=False)
        for target in ("tflite-micro", "edge-tpu", "gpu-delegate"):
            assert found[target].runs == "no"
            assert any("batch=1" in reason.fix for reason in found[target].reasons)
        assert found["tflite-runtime"].runs == "yes"

    def test_edge_tpu_takes_integers_only(self, files):
        for name, runs in (
            ("float32", "no"),
            ("dynamic", "no"),
            ("int16x8", "no"),
            ("int8", "yes"),
        ):
            verdict = kd.export.preflight(files[name], ["edge-tpu"])["edge-tpu"]
            assert verdict.runs == runs, verdict
            assert "not tried" in verdict.evidence

    def test_gpu_takes_floats_and_eight_bits(self, files):
        expected = {"float32": "yes", "float16": "yes", "int8": "yes", "int16x8": "no"}
        for name, runs in expected.items():
            assert kd.export.preflight(files[name], ["gpu-delegate"])["gpu-delegate"].runs == runs

    def test_gpu_with_integer_weights_is_not_known(self, tmp_path):
        (path,) = write(tmp_path, [("wide_conv", "dynamic")])
        verdict = kd.export.preflight(path, ["gpu-delegate"])["gpu-delegate"]
        assert verdict.runs == "unknown"
        assert verdict.reasons[0].operator == "CONV_2D"

    def test_versions_of_ai_edge_quantizer_say_nothing(self, bare, tmp_path):
        quantizer = pytest.importorskip("ai_edge_quantizer.quantizer")
        recipe = pytest.importorskip("ai_edge_quantizer.recipe")
        made = quantizer.Quantizer(str(bare))
        made.load_quantization_recipe(recipe.dynamic_wi8_afp32())
        path = tmp_path / "m.tflite"
        path.write_bytes(bytes(made.quantize().quantized_model))
        assert {op.version for op in ModelFile.read(path).operators} == {1}
        verdict = kd.export.preflight(path, ["tflite-runtime"], trials=False)["tflite-runtime"]
        assert verdict.runs == "unknown"
        assert "say nothing" in verdict.reasons[0].why

    def test_table_knows_no_operator_that_is_none(self):
        from keras_dlcourse.edge.tflite.schema import BUILTIN_OPERATORS

        for target in TARGETS.values():
            assert set(target.operators) <= set(BUILTIN_OPERATORS)
            assert set(target.refused_types) <= set(target.operators)


class TestResult:
    def test_prints_and_is_data(self, files):
        found = kd.export.preflight(files["float16"], trials=False)
        text = str(found)
        assert "does not run" in text
        assert "DEQUANTIZE at" in " ".join(text.split())
        data = json.loads(json.dumps(found.to_dict()))
        assert data["verdicts"]["tflite-micro"]["runs"] == "no"
        assert set(found.verdicts) == set(TARGETS)

    def test_require(self, files):
        found = kd.export.preflight(files["float16"], trials=False)
        assert found.require("ai-edge-litert") is found
        with pytest.raises(ValueError, match="does not run on tflite-micro: DEQUANTIZE at"):
            found.require("tflite-micro")
        with pytest.raises(ValueError, match="targets must be one of .*Received: 'toaster'"):
            found.require("toaster")

    def test_refused(self, files, tmp_path):
        with pytest.raises(
            ValueError, match="must be one of 'ai-edge-litert'.*Received: 'toaster'"
        ):
            kd.export.preflight(files["int8"], ["toaster"])
        with pytest.raises(TypeError, match="a sequence of names. Received: the single string"):
            kd.export.preflight(files["int8"], "tflite-micro")
        damaged = tmp_path / "m.tflite"
        damaged.write_bytes(files["int8"].path.read_bytes()[:900])
        with pytest.raises(kd.edge.InvalidModel):
            kd.export.preflight(damaged)
        with pytest.raises(FileNotFoundError):
            kd.export.preflight(tmp_path / "nowhere.tflite")

    def test_a_runtime_that_dies_is_a_verdict(self, files, monkeypatch, tmp_path):
        """A child that is killed does not take this process with it."""
        from keras_dlcourse.export.checking import trial

        script = tmp_path / "dies.py"
        script.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
        monkeypatch.setattr(trial, "__file__", str(script))
        verdict = kd.export.preflight(files["float32"], ["ai-edge-litert"])["ai-edge-litert"]
        assert verdict.runs == "no"
        assert "the runtime crashed (exit status -11)" in verdict.reasons[0].why

    def test_command(self, files, capsys):
        path = str(files["float16"].path)
        assert main(["preflight", path]) == 0
        assert "TensorFlow Lite Micro" in capsys.readouterr().out
        assert main(["preflight", path, "--targets", "tflite-micro"]) == 1
        assert main(["preflight", path, "--targets", "ai-edge-litert", "tflite-runtime"]) == 0
        assert main(["preflight", path, "--targets", "toaster"]) == 2
        error = capsys.readouterr().err
        assert "must be some of ai-edge-litert" in error and "Received: 'toaster'" in error
