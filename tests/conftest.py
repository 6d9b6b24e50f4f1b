"""What all tests share."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # the first call of a test often imports a library
settings.load_profile("unhurried")
