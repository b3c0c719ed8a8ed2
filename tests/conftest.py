"""What all tests share: how hypothesis draws its cases."""

from __future__ import annotations

from hypothesis import settings

# No deadline: machines that run tests are busy. The same cases every time, and no database of them left in the tree.
settings.register_profile("project", deadline=None, derandomize=True, database=None)
settings.load_profile("project")
