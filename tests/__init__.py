"""Tests, flat. Fixtures that several files share are in conftest.py."""
