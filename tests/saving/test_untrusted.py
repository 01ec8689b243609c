"""What a config may not name, wherever it names it and however."""

from __future__ import annotations

import builtins
import importlib
import inspect
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.src import api_export
from keras.src.saving import serialization_lib
from strange_files import config_of, in_slots, small_model, with_config

import keras_dlcourse as kd
from keras_dlcourse.saving import UntrustedModelError
from keras_dlcourse.saving.allowed import Allowed
from keras_dlcourse.saving.config import MAX_DEPTH, MAX_OBJECTS, find_names, parse
from keras_dlcourse.saving.errors import InvalidModelFile

# What an allowed class or function must be, said in other words than the list says it.
PARTS = (
    keras.Operation,
    keras.Initializer,
    keras.Regularizer,
    keras.constraints.Constraint,
    keras.Loss,
    keras.Metric,
    keras.Optimizer,
    keras.optimizers.schedules.LearningRateSchedule,
    keras.DTypePolicy,
    keras.dtype_policies.DTypePolicyMap,
    keras.Quantizer,
    keras.quantizers.QuantizationConfig,
    keras.random.SeedGenerator,
)
OF_FUNCTIONS = ("keras.src.activations", "keras.src.losses", "keras.src.metrics")


@pytest.fixture(scope="module")
def allowed() -> Allowed:
    return Allowed()


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "small.keras"
    small_model().save(path)
    return path


def _callables() -> set[tuple[str, str]]:
    """Return all callables, by module and name, of Keras (public or not), NumPy, os and others."""
    found = {tuple(name.rsplit(".", 1)) for name in api_export.REGISTERED_NAMES_TO_OBJS}
    others = (np, os, os.path, subprocess, builtins, importlib, inspect)
    modules = {module.__name__: module for module in others}
    modules |= {name: sys.modules[name] for name in sys.modules if name.split(".")[0] == "keras"}
    for name, module in modules.items():
        found |= {(name, key) for key, item in vars(module).items() if callable(item)}
    return found


def _shapes(module: str, name: str) -> list[dict[str, Any]]:
    """Return the ways in which a config can ask for a class or function."""
    spoofed = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 1}}
    return [
        {"module": module, "class_name": name, "config": {}, "registered_name": None},
        {"module": module, "class_name": name, "config": {}, "registered_name": name},
        {"module": module, "class_name": name, "config": {}},
        {"module": module, "class_name": name},
        {"module": module, "class_name": "function", "config": name, "registered_name": name},
        {"module": "builtins", "class_name": "function", "config": name, "registered_name": name},
        {"module": "builtins", "class_name": "function", "config": name},
        {"class_name": "function", "config": f"{module}.{name}", "registered_name": name},
        {"class_name": name, "config": {}},
        {"class_name": f"{module}>{name}", "config": {}},
        {**spoofed, "registered_name": name},
        {**spoofed, "registered_name": f"{module}>{name}"},
    ]


def _by_keras(thing: dict[str, Any]) -> Any:
    """Return what Keras makes of a name."""
    is_function = thing["class_name"] == "function"
    try:
        return serialization_lib._retrieve_class_or_fn(
            thing["config"] if is_function else thing["class_name"],
            thing.get("registered_name", thing["class_name"]),
            thing.get("module"),
            obj_type="function" if is_function else "class",
            full_config=thing,
            custom_objects={},
        )
    except Exception:
        return None


def _is_part(thing: Any) -> bool:
    if inspect.isclass(thing):
        return issubclass(thing, PARTS) and not hasattr(thing, "load_assets")
    return inspect.isfunction(thing) and thing.__module__.startswith(OF_FUNCTIONS)


class TestEverythingThatCanBeImported:
    def test_only_parts_of_networks_and_their_training(self, allowed):
        """Whatever Keras makes of a name, we open it only if it is a part, and the same one."""
        tried = opened = resolved = 0
        objects, by_keras = set(), set()
        for module, name in sorted(_callables()):
            for thing in _shapes(module, name):
                found, refused = find_names({"slot": [thing]}, allowed)
                made = _by_keras(thing)
                tried += 1
                resolved += made is not None
                by_keras |= {id(made)} if made is not None else set()
                assert bool(found) != bool(refused), thing
                if found:
                    opened += 1
                    assert _is_part(made), thing
                    assert made is allowed.objects[found[0]], thing
                    objects.add(id(made))
        print(f"{tried} tried, {resolved} resolved by Keras, {opened} opened")
        print(f"{len(by_keras)} objects resolved by Keras, {len(objects)} by us")
        assert tried > 50_000 and len(by_keras) > len(objects) + 300

    def test_none_of_ours_is_missing(self, allowed):
        for name in (*kd.layers.__all__, *kd.losses.__all__, *kd.metrics.__all__):
            parts = (kd.layers, kd.losses, kd.metrics)
            thing = next(vars(part)[name] for part in parts if hasattr(part, name))
            registered = inspect.isclass(thing) and ">" in keras.saving.get_registered_name(thing)
            assert allowed.holds(thing) == registered, name

    def test_nothing_allowed_takes_a_path_or_a_function(self, allowed):
        """A new layer of Keras that does is noticed here."""
        words = ("path", "file", "dir", "url", "callable", "vocab", "module")
        suspicious = {
            f"{kind.__name__}.{parameter}"
            for name, kind in allowed.objects.items()
            if inspect.isclass(kind)
            for parameter in inspect.signature(kind.__init__).parameters
            if any(word in parameter for word in words) or parameter in ("fn", "function")
        }
        assert suspicious == {
            "CTCDecode.top_paths",
            "InvertedResidual.drop_path",
            "MeanMetricWrapper.fn",  # a loss by its name
        }

    @pytest.mark.parametrize(
        "kind",
        ["Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"]
        + ["StringLookup", "IntegerLookup", "TextVectorization"],
    )
    def test_layers_of_keras_that_run_code_or_open_files(self, kind, allowed):
        thing = _shapes("keras.layers", kind)[0]
        _, (refused,) = find_names(thing, allowed)
        assert refused.reason in (*allowed.refused.values(),)
        assert not allowed.holds(getattr(keras.layers, kind))


ATTACKS = {
    "os.system": _shapes("os", "system")[0],
    "get_file": _shapes("keras.utils", "get_file")[4],
    "load_model": _shapes("keras.models", "load_model")[5],
    "enable_unsafe": _shapes("keras.config", "enable_unsafe_deserialization")[0],
    "eval": {"module": "builtins", "class_name": "eval", "config": "1", "registered_name": None},
    "func_load": _shapes("keras.src.utils.python_utils", "func_load")[4],
    "lambda": {"class_name": "__lambda__", "config": {"value": ["4wEA", None, None]}},
    "typespec": {
        "class_name": "__typespec__",
        "spec_name": "system",
        "module": "os",
        "config": [],
        "registered_name": None,
    },
    "legacy": {"class_name": "Lambda", "config": {"function": ["4wEA", None, None]}},
    "spoofed": _shapes("os", "system")[11],
    "module of another": {
        "module": "keras.losses",
        "class_name": "Dense",
        "config": {"units": 2},
        "registered_name": None,
    },
    "huge void": {"class_name": "__numpy__", "config": {"value": [0], "dtype": "V2000000000"}},
    "no name": {"module": "keras.layers", "class_name": ["Dense"], "config": {}},
    "evil function": {
        "module": "builtins",
        "class_name": "function",
        "config": "evil",
        "registered_name": "function",
    },
    "evil by its package": {
        "module": "builtins",
        "class_name": "function",
        "config": "Strange>evil",
        "registered_name": "function",
    },
    "evil as Dense": {
        "module": "keras.layers",
        "class_name": "Dense",
        "config": {"units": 2},
        "registered_name": "Strange>evil",
    },
    "evil as text": "Strange>evil",
}


@keras.saving.register_keras_serializable("Strange")
def evil(*arguments: Any, **keywords: Any) -> Any:
    """Someone's registered function, which no file may choose."""
    raise AssertionError("it ran")


class TestAttacks:
    @pytest.mark.parametrize("name", ATTACKS)
    def test_in_every_slot(self, name, small, allowed):
        for slot, config in in_slots(config_of(small), ATTACKS[name]).items():
            _, refused = find_names(config, allowed)
            assert len(refused) == 1, slot
            assert refused[0].where.startswith("config.json: ")

    @pytest.mark.parametrize("name", ATTACKS)
    def test_a_file_is_not_opened(self, name, small, tmp_path):
        for slot in ("activation", "layer", "loss"):
            config = in_slots(config_of(small), ATTACKS[name])[slot]
            path = with_config(small, tmp_path / "m.keras", lambda _, made=config: made)
            with pytest.raises(
                UntrustedModelError, match="m.keras contains objects that are not allowed"
            ):
                kd.load(path)

    def test_an_object_in_the_place_of_another(self, small, allowed):
        config = config_of(small)
        first, last = config["config"]["layers"][1:]
        for layer, slot in ((first, "kernel_initializer"), (last, "bias_initializer")):
            layer["config"][slot]["shared_object_id"] = 7
        _, (refused,) = find_names(config, allowed)
        assert refused.reason == "it shares an object id with an object of another class"
        assert not refused.can_be_trusted

    def test_a_trusted_function_is_meant_before_one_of_keras(self, small, tmp_path):
        def relu(x):
            return 0 * x

        thing = {"module": "builtins", "class_name": "function", "config": "relu"}
        path = with_config(
            small,
            tmp_path / "m.keras",
            lambda config: config["config"]["layers"][1]["config"].update(activation=thing),
        )
        assert kd.load(path).layers[1].activation is keras.activations.relu
        assert kd.load(path, trust=[relu]).layers[1].activation is relu

    def test_what_hides_behind_the_name_of_a_part(self, small, tmp_path):
        """Keras looks into its registry first, which may hold anything under any name."""
        scope = keras.saving.custom_object_scope({"relu": evil})
        with scope, pytest.raises(UntrustedModelError, match="relu"):
            kd.load(small)
        assert kd.load(small).name == "small"

    def test_a_message_cannot_write_to_the_terminal(self, small, tmp_path):
        name = "\x1b[2J\rall is well\n" + "x" * 10_000

        def change(config):
            config[name] = {"class_name": name}

        with pytest.raises(UntrustedModelError) as caught:
            kd.load(with_config(small, tmp_path / "m.keras", change))
        assert r"\x1b[2J\rall is well\n" in str(caught.value)
        assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 900

    def test_many_are_listed_and_counted(self, small, tmp_path):
        def change(config):
            things = [{"class_name": f"Strange{index}"} for index in range(60)]
            config["more"] = things + [{"class_name": "Strange0"}] * 9

        with pytest.raises(UntrustedModelError) as caught:
            kd.load(with_config(small, tmp_path / "m.keras", change))
        assert len(caught.value.refused) == 69
        assert "more[0], config.json: more[60], config.json: more[61] and 7 more" in str(
            caught.value
        )
        assert "and 10 more objects" in str(caught.value)


class TestSizesOfConfigs:
    def test_places_take_no_memory(self, allowed):
        """A long name above many things, and long lists."""
        config = parse(b'{"%s": {"b": [%s1]}}' % (b"a" * 10**6, b"1," * 10**5))
        tracemalloc.start()
        find_names(config, allowed)
        assert tracemalloc.get_traced_memory()[1] < 10**5
        tracemalloc.stop()

    def test_depth(self):
        parse(b'{"a": ' * 90 + b"1" + b"}" * 90)
        with pytest.raises(InvalidModelFile, match=f"deeper than {MAX_DEPTH}"):
            parse(b'{"a": ' * 200 + b"1" + b"}" * 200)
        with pytest.raises(InvalidModelFile, match="is not valid JSON"):
            parse(b"[" * 100_000)

    def test_objects(self):
        with pytest.raises(InvalidModelFile, match=f"more than {MAX_OBJECTS}"):
            parse(b'{"a": [' + b'{"class_name": "a"},' * MAX_OBJECTS + b'{"class_name": "a"}]}')

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\xfd", b"1" * 5000, b"{]"])
    def test_no_json(self, content):
        with pytest.raises(InvalidModelFile, match="is not valid JSON"):
            parse(content)

    @pytest.mark.parametrize("content", [b"1", b"[]", b"null", b'"Dense"'])
    def test_no_model(self, content):
        with pytest.raises(InvalidModelFile, match="does not describe a model"):
            parse(content)
