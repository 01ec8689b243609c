"""What it costs to write beside, hash, flush and rename: a model and a training, beside Keras."""

from __future__ import annotations

import tempfile
from pathlib import Path

from _figures import Figure, in_turn, ratio
from faults import dense, save_by_keras, save_ours

from keras_dlcourse.saving.checkpoints import CheckpointFolder
from keras_dlcourse.saving.state import capture, write_state


def measure() -> list[Figure]:
    figures = []
    for megabytes in (5, 100):
        model = dense(megabytes)
        with tempfile.TemporaryDirectory() as root:
            ours, theirs, state = (Path(root) / name for name in ("ours", "theirs", "state"))
            theirs.mkdir()
            times = in_turn(
                lambda m=model, f=ours: save_ours(m, f),
                lambda m=model, f=theirs: save_by_keras(m, f),
                rounds=9,
            )
            figures.append(ratio(f"saving a model of {megabytes} MB beside Keras", *times, 2.0))
            folder = CheckpointFolder(state)
            times = in_turn(
                lambda m=model, f=folder: f.save(
                    "training.state", lambda path: write_state(path, capture(m, copy=False), {})
                ),
                lambda m=model, f=theirs: m.save_weights(f / "latest.weights.h5"),
                rounds=9,
            )
            what = f"saving the state of a training of {megabytes} MB beside Keras"
            figures.append(ratio(what, *times, 2.0))
    return figures
