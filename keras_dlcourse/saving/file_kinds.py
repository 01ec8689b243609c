"""What to do with files that are not `.keras` files."""

from __future__ import annotations

from pathlib import Path

# What to do with other types of files, as the end of a sentence.
_WAYS_OUT = {
    **dict.fromkeys(
        (".h5", ".hdf5"),
        ": load an HDF5 file of older Keras with keras.models.load_model, and save it again with "
        "model.save('model.keras')",
    ),
    ".task": ": a MediaPipe .task bundle is a zip archive; unzip it and use the .tflite file in it "
    "on devices",
    ".tflite": ": a .tflite file is ready for devices; run it with keras_dlcourse.edge",
}


def way_out(path: Path) -> str:
    """Return what to do with a file of another type, as the rest of a sentence."""
    if path.name.endswith(".weights.h5"):
        return ": it contains only weights; build it, call model.load_weights, and pass the model"
    return _WAYS_OUT.get(path.suffix.lower(), "")
