"""What an import costs and needs, and what is said when something is missing."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
import subprocess
import sys
import textwrap
from types import ModuleType

import pytest

import keras_dlcourse
from keras_dlcourse._extras import require

HEAVY = ("keras", "tensorflow", "jax", "torch", "sklearn", "scipy", "matplotlib", "rich", "PIL")


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["keras_dlcourse", "keras_dlcourse.edge", "keras_dlcourse.cli"])
def test_light_imports(module):
    loaded = python(f"""
        import sys, {module}
        print([name for name in {HEAVY} if name in sys.modules])
    """)
    assert loaded == "[]"


@pytest.mark.parametrize("part", ["data", "export", "models", "saving"])
def test_a_lazy_part_lists_the_names_that_its_modules_share(part):
    package = importlib.import_module(f"keras_dlcourse.{part}")
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert package._shared_names == modules & set(package.__all__)
    assert not [name for name in package.__all__ if isinstance(getattr(package, name), ModuleType)]
    with pytest.raises(AttributeError, match=f"'keras_dlcourse.{part}' has no attribute 'nope'"):
        _ = package.nope


def test_a_module_does_not_hide_the_function_of_its_name():
    assert (
        python("""
        import sys
        import keras_dlcourse as kd
        import keras_dlcourse.data.split
        from keras_dlcourse.data import folder, listing
        assert "keras" not in sys.modules
        from keras_dlcourse.data import split
        print(split is kd.data.split is keras_dlcourse.data.split, callable(split))
    """)
        == "True True"
    )


def test_any_module_is_the_first_import(monkeypatch):
    """Each may bring Keras in, which brings in all that registers with it, and what that needs.

    A module that nothing registered needs cannot be in such a circle, and `edge` needs no Keras.
    """
    if importlib.util.find_spec("jax"):  # imported in half of the time
        monkeypatch.setenv("KERAS_BACKEND", "jax")
    failed = python("""
        import importlib
        import sys
        import keras

        def import_first(name):
            for loaded in list(sys.modules):  # Keras's own modules stay, for speed
                if loaded == "keras" or loaded.split(".")[0] == "keras_dlcourse":
                    del sys.modules[loaded]
            importlib.import_module(name)

        import_first("keras_dlcourse.metrics")
        registered = {"layers", "losses", "metrics"}
        names = [f"keras_dlcourse.{part}" for part in sorted(registered)]
        for name in sorted(sys.modules):
            top, *parts = name.split(".")
            if top == "keras_dlcourse" and parts and parts[0] not in {*registered, "edge"}:
                names.append(name)
        assert "keras_dlcourse.boxes" in names, names
        failed = {}
        for name in names:
            try:
                import_first(name)
            except ImportError as error:
                failed[name] = str(error)
        print(failed)
    """)
    assert failed == "{}"


def test_edge_needs_numpy_only_until_used():
    """With every other module of the desk made unimportable, the device part imports."""
    python(f"""
        import sys
        for name in {HEAVY[:-1]}:
            sys.modules[name] = None
        from keras_dlcourse.edge import ImageClassifier
    """)


def test_parts_are_loaded_on_first_use():
    assert (
        python("""
        import sys, keras_dlcourse as kd
        assert "keras_dlcourse.edge" not in sys.modules
        kd.edge
        print("keras_dlcourse.edge" in sys.modules, kd.__version__)
    """)
        == f"True {keras_dlcourse.__version__}"
    )


def test_unknown_names():
    with pytest.raises(AttributeError, match="has no attribute 'model'.*models"):
        keras_dlcourse.model  # noqa: B018
    assert "edge" in dir(keras_dlcourse)


@pytest.mark.parametrize(
    "part", ["data", "layers", "models", "callbacks", "explain", "export", "retrieval", "saving"]
)
def test_a_missing_extra_is_one_sentence(part):
    """Where Keras is not installed, each part that needs it says how to get it."""
    message = python(f"""
        import importlib.util, sys
        find = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *rest: (
            None if name == "keras" else find(name, *rest)
        )
        try:
            import keras_dlcourse.{part}
            keras_dlcourse.{part}.__all__
        except ImportError as error:
            print(error)
    """)
    assert "pip install 'keras-dlcourse[tensorflow]'" in message
    assert "keras" in message and "\n" not in message


def test_require():
    require("this", "test", "json", "numpy")
    with pytest.raises(
        ImportError, match=r"this needs nope and nada, which are not installed: pip"
    ):
        require("this", "extra", "nope", "json", "nada")


def test_names_that_have_been_renamed_say_so():
    from keras_dlcourse import edge

    message = "keras_dlcourse.edge.ImageMetadata has been renamed. Use keras_dlcourse.edge.ModelM"
    with pytest.warns(FutureWarning, match=f"^{re.escape(message)}etadata.$"):
        renamed = edge.ImageMetadata
    assert renamed is edge.ModelMetadata and "ImageMetadata" not in edge.__all__
    with pytest.raises(AttributeError, match="no attribute 'unknown'"):
        _ = edge.unknown


@pytest.mark.parametrize(("old", "new"), [("models", "graph"), ("quantize", "compress")])
def test_names_that_have_moved_say_where_they_are(old, new):
    old, new = (importlib.import_module(f"keras_dlcourse.{part}") for part in (old, new))
    for name in old._MOVED:
        message = f"{old.__name__}.{name} has moved. Use {new.__name__}.{name}."
        with pytest.warns(FutureWarning, match=f"^{re.escape(message)}$"):
            moved = getattr(old, name)
        assert moved is getattr(new, name)
        assert name in new.__all__ and name not in old.__all__
    with pytest.raises(AttributeError, match=f"'{old.__name__}' has no attribute 'unknown'"):
        _ = old.unknown
