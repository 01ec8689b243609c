"""What a run records about the machine and the command that made it."""

from __future__ import annotations

import json
import os
import platform

import keras
import pytest

from keras_dlcourse import backend
from keras_dlcourse.training.run.machine import describe_machine, find_command


def test_the_machine_is_described_without_names_of_hosts():
    found = json.loads(json.dumps(describe_machine()))
    assert found["cores"] == os.cpu_count()
    assert found["processor"]
    assert found["accelerators"] == backend.accelerators()
    assert platform.node() not in found.values()


def test_accelerators_are_those_that_keras_would_use():
    devices = keras.distribution.list_devices()
    assert len(backend.accelerators()) == sum(not one.startswith("cpu") for one in devices)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/opt/bin/keras-dlcourse", "keras-dlcourse train 'my photos' -o run"),
        (r"keras-dlcourse.exe", "keras-dlcourse train 'my photos' -o run"),
        ("/lib/keras_dlcourse/__main__.py", "keras-dlcourse train 'my photos' -o run"),
        ("/lib/keras_dlcourse/cli/__main__.py", "keras-dlcourse train 'my photos' -o run"),
        ("train.py", None),
        ("/lib/pytest/__main__.py", None),
    ],
)
def test_the_command_is_that_of_this_package_only(program, expected, monkeypatch):
    monkeypatch.setattr("sys.argv", [program, "train", "my photos", "-o", "run"])
    assert find_command() == expected
