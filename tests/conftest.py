"""What holds for every test."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# A busy machine is no failure; and CI tries the same examples each time.
settings.register_profile("steady", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("steady")

# A script's background job is born with Ctrl-C ignored, and so would be all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
