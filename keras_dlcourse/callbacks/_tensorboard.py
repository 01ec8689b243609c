"""Write images for TensorBoard, without TensorFlow.

`tensorboard`'s own `EventFileWriter` imports TensorFlow where it is installed, which training on
JAX or PyTorch does not need; its records and protocol buffers do not.
"""

from __future__ import annotations

import io
import os
import socket
import time
from pathlib import Path

from keras_dlcourse._files import user_path, write_bytes

_RGBA = 4  # color space in summary.proto


def write_picture(
    directory: str | os.PathLike[str], tag: str, step: int, png: bytes, size: tuple[int, int]
) -> Path:
    """Write one image as its own event file, atomically.

    TensorBoard reads the files of a folder in name order and never goes back to an earlier one, so
    each name begins with the time.

    Args:
        directory: Folder of the run; its parent is TensorBoard's `--logdir`.
        tag: Name of the image series.
        step: Number of the image in its series, e.g. the epoch.
        png: Content of a PNG file.
        size: Height and width in pixels.

    Returns:
        The path of the file.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    now = time.time()
    image = Summary.Image(height=size[0], width=size[1], colorspace=_RGBA, encoded_image_string=png)
    summary = Summary(value=[Summary.Value(tag=tag, image=image)])
    records = io.BytesIO()
    writer = RecordWriter(records)
    writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
    writer.write(Event(wall_time=now, step=step, summary=summary).SerializeToString())
    host = socket.gethostname() or "host"
    path = (
        user_path(directory) / f"events.out.tfevents.{now:017.6f}.{host}.{os.getpid()}.{step:06d}"
    )
    write_bytes(path, records.getvalue())
    return path
