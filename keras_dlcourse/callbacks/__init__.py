"""Callbacks for `model.fit`: early stopping, checkpoints, maps and measures after each epoch."""

from keras_dlcourse._extras import require

require("keras_dlcourse.callbacks", "tensorflow", "keras", "matplotlib", "sklearn", "filelock")

from keras_dlcourse.callbacks.backup_and_restore import BackupAndRestore
from keras_dlcourse.callbacks.class_activation_maps import ClassActivationMaps
from keras_dlcourse.callbacks.collapse_monitor import CollapseMonitor
from keras_dlcourse.callbacks.early_stopping import EarlyStopping
from keras_dlcourse.callbacks.model_checkpoint import ModelCheckpoint
from keras_dlcourse.callbacks.plateau_monitor import PlateauMonitor
from keras_dlcourse.callbacks.retrieval_metrics import RetrievalMetrics
from keras_dlcourse.callbacks.signal_monitor import SignalMonitor
from keras_dlcourse.callbacks.terminate_on_nan import TerminateOnNaN

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
