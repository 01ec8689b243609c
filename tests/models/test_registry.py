from __future__ import annotations

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
    with pytest.raises(ValueError, match="'new_model' is taken"):
        models.register("new_model")


@pytest.mark.parametrize("name", ["", "MobileNet", "mobilenet-v2", "2net"])
def test_names_that_cannot_be_typed_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="lower case"):
        models.register(name)
