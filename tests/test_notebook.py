"""A documented block in a real Jupyter kernel: what is printed is there, and is text."""

from __future__ import annotations

import re
from pathlib import Path

from jupyter_client.manager import start_new_kernel

DOCUMENT = Path(__file__).parents[1] / "docs" / "models.md"

# Tables are strings, to log and to save; and a run's narration goes where prints go.
MORE = """
import contextlib, io
from keras_dlcourse._progress import track
from keras_dlcourse.training.narration import Narrator

with contextlib.redirect_stdout(io.StringIO()) as log:
    print(costs)
    Narrator()("Reading images")
table, _, narrated = log.getvalue().rpartition("\\n0:00  ")
assert table == str(costs), log.getvalue()
assert narrated == "Reading images\\n", log.getvalue()
assert list(track(range(3), 3, "Adding")) == [0, 1, 2]
"""


def test_a_documented_block_in_jupyter():
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.S)
    block = next(block for block in blocks if "print(costs)" in block)
    shown: dict[str, list] = {}

    def keep(message):
        shown.setdefault(message["msg_type"], []).append(message["content"])

    manager, client = start_new_kernel(kernel_name="python3")
    try:
        for code in ("import keras_dlcourse as kd\n" + block, MORE):
            reply = client.execute_interactive(code, timeout=None, output_hook=keep)
            assert reply["content"]["status"] == "ok", reply["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert not {"display_data", "execute_result", "error"} & shown.keys()
    text = "".join(stream["text"] for stream in shown["stream"] if stream["name"] == "stdout")
    assert "40.6 million multiply-adds" in text
    rows = [line.split()[:2] for line in text.splitlines()]
    assert rows.count(["stem", "Conv2D"]) == 1
    assert sum(row[1:] == ["Conv2D"] for row in rows) == 19  # and shortcuts without weights
