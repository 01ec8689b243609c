"""Allow running the command as `python -m keras_dlcourse`."""

import sys

from keras_dlcourse.cli import main

if __name__ == "__main__":
    sys.exit(main())
