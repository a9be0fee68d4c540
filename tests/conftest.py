"""Settings of every test."""

from hypothesis import settings

# Shared machines stall: a slow example is not a failure. A failing one prints how to replay it.
settings.register_profile("feedtwin", deadline=None, print_blob=True)
settings.load_profile("feedtwin")
