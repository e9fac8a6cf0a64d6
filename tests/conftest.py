"""Settings of every test: property tests have no deadline (the machine may be busy) and repeat themselves in CI."""

import os

from hypothesis import settings

settings.register_profile("openjepa", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("openjepa")
