from __future__ import annotations

import inspect

import keras
import pytest

from keras_dlcourse import models
from keras_dlcourse.models import registry


def test_names_are_sorted() -> None:
    """That each builds is in test_families.py."""
    assert list(models.names()) == sorted(set(models.names()))
    assert {"mobilenet", "vgg16", "resnet20_cifar"} <= set(models.names())


def test_unknown_names_are_refused_with_the_closest() -> None:
    with pytest.raises(ValueError, match="'mobilnet_v2'. Did you mean 'mobilenet_v2'?"):
        models.build("mobilnet_v2")
    with pytest.raises(
        ValueError,
        match="'resnet'. Did you mean 'resnet.*Known: alexnet, .*mobilenet, mobilenet_v2",
    ):
        models.build("resnet")
    with pytest.raises(ValueError, match="Did you mean 'mobilenet_v2'"):
        models.build("MobileNetV2")


def test_unknown_arguments_are_refused_before_anything_is_built() -> None:
    with pytest.raises(
        TypeError, match="mobilenet_v2 has no argument 'aplha'. Did you mean 'alpha'"
    ):
        models.build("mobilenet_v2", aplha=0.5)


def test_a_name_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_BUILDERS", dict(registry._BUILDERS))

    def builder() -> None: ...

    assert models.register("new_model")(builder) is builder
    assert "new_model" in models.names()
    with pytest.raises(ValueError, match="'new_model' is already registered"):
        models.register("new_model")


@pytest.mark.parametrize("name", ["", "MobileNet", "mobilenet-v2", "2net"])
def test_names_that_cannot_be_typed_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must be lowercase"):
        models.register(name)


@pytest.mark.parametrize("name", models.names())
def test_builders_show_all_their_options(name):
    """As `help()` and editors do: each argument with its default, and a description of each."""
    builder = registry._BUILDERS[name]
    parameters = inspect.signature(builder).parameters.values()
    assert all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters)
    defaults = {parameter.name: parameter.default for parameter in parameters}
    assert defaults.keys() >= {"input_shape", "alpha", "include_top", "weights", "preprocessing"}
    assert defaults["name"] == name
    assert "**options" not in builder.__doc__
    if "    Args:" in builder.__doc__:
        for argument in defaults:
            assert f"        {argument}: " in builder.__doc__


def test_shown_defaults_are_those_that_are_built():
    for builder in (models.VGG11, models.ResNet20CIFAR, models.EfficientNetLite4):
        defaults = inspect.signature(builder).parameters
        model = builder((32, 32, 3), alpha=0.05)
        assert model.name == defaults["name"].default
        assert model.output_shape == (None, defaults["classes"].default)
        rates = {layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
        assert defaults["dropout"].default in (rates or {0.0})
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        models.VGG11((32, 32, 3), depth=3)
