"""What all tests share."""

import signal

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # the first call of a test often imports a library
settings.load_profile("unhurried")

# In a background job of a shell SIGINT is ignored, which child processes inherit; tests that interrupt them need it.
signal.signal(signal.SIGINT, signal.default_int_handler)
