"""Settings of every test: property tests have no deadline (the machine may be busy) and repeat themselves in CI."""

import os
import signal

from hypothesis import settings

settings.register_profile("openjepa", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("openjepa")

# A shell starts background commands with Ctrl-C ignored, and children inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
