"""Which examples do the property tests draw? The same in every run, unless they are to explore."""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)  # a change fails for what it changes
settings.register_profile("explore")  # fresh draws, for `make long`
settings.load_profile("repeatable")
