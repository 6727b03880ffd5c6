"""What holds for every test."""

from hypothesis import settings

# How long an example takes says nothing on a machine that does other work beside.
settings.register_profile("project", deadline=None)
settings.load_profile("project")
