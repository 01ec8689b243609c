"""The plugin that says what the tests cost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import processor_time
import pytest

TESTS = """
import subprocess, sys
import pytest

BURN = "import time\\nwhile time.process_time() < {}: pass"


def burn(seconds):
    subprocess.run([sys.executable, "-c", BURN.format(seconds)], check=True)


@pytest.fixture
def before_and_after():
    burn(0.2)
    yield
    burn(0.2)


def test_dear(before_and_after):
    burn(0.4)


def test_given_much(before_and_after):
    pass


@pytest.mark.slow
def test_slow():
    burn(0.4)


def test_cheap():
    pass
"""
# A small limit, as a file of the plugin's own would set it.
PLUGIN = "import processor_time\nprocessor_time.LIMIT = 0.3\n"


@pytest.mark.parametrize("processes", ["0", "1"])
def test_children_and_fixtures_count_and_the_limit_is_said(tmp_path: Path, processes: str) -> None:
    folder = tmp_path / "some" / "folder"
    folder.mkdir(parents=True)
    (folder / "test_costs.py").write_text(TESTS)
    (tmp_path / "small_limit.py").write_text(PLUGIN)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow: minutes\n")
    path = os.pathsep.join([str(tmp_path), str(Path(processor_time.__file__).parent)])
    plugins = ["-p", "xdist", "-p", "processor_time", "-p", "small_limit"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, "-n", processes],
        cwd=tmp_path,
        env={**os.environ, "CI": "1", "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seconds = dict(reversed(found) for found in re.findall(r"(?m)^ +([\d.]+)  (.+)$", done.stdout))
    tests = "some/folder/test_costs.py::test_"
    assert float(seconds[f"{tests}dear"]) > 0.79, done.stdout
    assert float(seconds["some/folder"]) > 1.59, done.stdout
    assert float(seconds["in all"]) > float(seconds["some/folder"]) + 0.1
    assert float(seconds["(starting, collecting)"]) > 0.1
    (loud,) = [line for line in done.stdout.splitlines() if line.startswith("OVER THE LIMIT")]
    assert "at most 0.3 s" in loud and loud.endswith(f"1 took more. Make each cheaper: {tests}dear")
