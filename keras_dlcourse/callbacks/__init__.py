"""Callbacks for `model.fit`: early stopping, maps and measures after each epoch."""

from keras_dlcourse._extras import require

require("keras_dlcourse.callbacks", "tensorflow", "keras", "matplotlib", "sklearn", "filelock")

from keras_dlcourse.callbacks.backup_and_restore import BackupAndRestore  # noqa: E402
from keras_dlcourse.callbacks.class_activation_maps import ClassActivationMaps  # noqa: E402
from keras_dlcourse.callbacks.collapse_monitor import CollapseMonitor  # noqa: E402
from keras_dlcourse.callbacks.early_stopping import EarlyStopping  # noqa: E402
from keras_dlcourse.callbacks.model_checkpoint import ModelCheckpoint  # noqa: E402
from keras_dlcourse.callbacks.plateau_monitor import PlateauMonitor  # noqa: E402
from keras_dlcourse.callbacks.retrieval_metrics import RetrievalMetrics  # noqa: E402
from keras_dlcourse.callbacks.signal_monitor import SignalMonitor  # noqa: E402
from keras_dlcourse.callbacks.terminate_on_nan import TerminateOnNaN  # noqa: E402

__all__ = [
    "BackupAndRestore",
    "ClassActivationMaps",
    "CollapseMonitor",
    "EarlyStopping",
    "ModelCheckpoint",
    "PlateauMonitor",
    "RetrievalMetrics",
    "SignalMonitor",
    "TerminateOnNaN",
]
