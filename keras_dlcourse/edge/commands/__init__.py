"""Commands of `python -m keras_dlcourse.edge`."""
