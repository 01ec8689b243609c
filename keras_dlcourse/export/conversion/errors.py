"""The error of everything that cannot be exported."""


class ExportError(ValueError):
    """Raised if a model cannot be exported to a `.tflite` file; states the reason and the fix."""
