"""The commands of `python -m keras_dlcourse.edge`."""
