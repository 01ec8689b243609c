"""One case per callback."""

from __future__ import annotations

import numpy as np

import keras_dlcourse as kd
from cases.kinds import CallbackCase

CALLBACKS = (
    CallbackCase(
        kd.callbacks.EarlyStopping,
        lambda folder, images: kd.callbacks.EarlyStopping(patience=1),
        invalid=(
            ({"mode": "upwards"}, "mode.*'upwards'"),
            ({"patience": -1}, "patience.*-1"),
            ({"min_delta": float("nan")}, "min_delta.*nan"),
        ),
        has_state=True,
    ),
    CallbackCase(
        kd.callbacks.ClassActivationMaps,
        lambda folder, images: kd.callbacks.ClassActivationMaps(images, folder, limit=3),
        invalid=(
            ({"every": 0}, "every.*0"),
            ({"limit": -1}, "limit.*-1"),
            ({"folder": ""}, "folder.*''"),
        ),
        required={"data": np.zeros((2, 8, 8, 1)), "folder": "maps"},
    ),
    CallbackCase(
        kd.callbacks.RetrievalMetrics,
        lambda folder, images: kd.callbacks.RetrievalMetrics((images, np.arange(12) % 3)),
        invalid=(
            ({"measures": ["recall@0"]}, "measures.*'recall@0'"),
            ({"measures": "recall@1"}, "measures.*'recall@1'"),
            ({"metric": "manhattan"}, "metric.*'manhattan'"),
            ({"limit": 0}, "limit.*0"),
            ({"batch_size": 0}, "batch_size.*0"),
            ({"layer": 3}, "layer.*int"),
            ({"prefix": None}, "prefix.*None"),
        ),
        required={"data": (np.zeros((4, 8, 8, 1)), np.zeros(4))},
        has_state=True,
    ),
    CallbackCase(
        kd.callbacks.CollapseMonitor,
        lambda folder, images: kd.callbacks.CollapseMonitor(
            (images, np.arange(len(images)) % 3), loss=kd.losses.TripletLoss()
        ),
        invalid=(
            ({"limit": 2}, "limit.*2"),
            ({"tolerance": 0}, "tolerance.*0"),
            ({"variance": 1.5}, "variance.*1.5"),
            ({"loss": "mse"}, "loss.*TripletLoss.*'mse'"),
            ({"data": np.zeros((4, 8, 8, 1))}, "data must contain images and labels"),
            ({"data": (np.zeros((4, 8, 8, 1)), np.arange(4))}, "4 images of 4 classes"),
        ),
        required={"data": (np.zeros((4, 8, 8, 1)), np.arange(4) % 2)},
        has_state=True,
    ),
    CallbackCase(
        kd.callbacks.ModelCheckpoint,
        lambda folder, images: kd.callbacks.ModelCheckpoint(
            folder / "best.keras", save_best_only=True
        ),
        invalid=(
            ({"filepath": "model.h5"}, "filepath.*'model.h5'"),
            ({"monitor": ""}, "monitor.*''"),
            ({"save_freq": "batch"}, "save_freq.*'batch'"),
            ({"keep": 0}, "keep.*0"),
            ({"on_error": None}, "on_error.*None"),
        ),
        required={"filepath": "{epoch}.keras"},
        has_state=True,
    ),
    CallbackCase(
        kd.callbacks.BackupAndRestore,
        lambda folder, images: kd.callbacks.BackupAndRestore(folder),
        invalid=(
            ({"backup_dir": ""}, "backup_dir.*''"),
            ({"save_freq": 0}, "save_freq.*0"),
            ({"also": [3]}, "also.*int"),
            ({"on_error": "stop"}, "on_error.*'stop'"),
        ),
        required={"backup_dir": "backup"},
    ),
    CallbackCase(
        kd.callbacks.TerminateOnNaN,
        lambda folder, images: kd.callbacks.TerminateOnNaN(folder, every=2),
        invalid=(({"every": 0}, "every.*0"), ({"folder": 3}, "folder.*3")),
        has_state=True,
    ),
    CallbackCase(
        kd.callbacks.PlateauMonitor,
        lambda folder, images: kd.callbacks.PlateauMonitor(),
        invalid=(({"patience": 0}, "patience.*0"), ({"min_delta": 1}, "min_delta.*1")),
        has_state=True,
    ),
    CallbackCase(
        kd.callbacks.SignalMonitor,
        lambda folder, images: kd.callbacks.SignalMonitor(
            (images, np.arange(len(images)) % 3), folder=folder
        ),
        invalid=(
            ({"limit": 0}, "limit.*0"),
            ({"every": 1.5}, "every.*1.5"),
            ({"dead": 1}, "dead.*1"),
            ({"folder": ""}, "folder.*''"),
            ({"data": np.zeros((4, 8, 8, 1))}, "data must contain.*labels"),
        ),
        required={"data": (np.zeros((4, 8, 8, 1)), np.arange(4) % 2)},
        has_state=True,
    ),
)
