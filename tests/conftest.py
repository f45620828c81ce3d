"""Which examples do the property tests draw? The same in every run, unless they are to explore."""

from hypothesis import HealthCheck, settings

# On a busy machine an example may take any time: that is no failure.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("repeatable", PATIENT, derandomize=True)  # a change fails for what it changes
settings.register_profile("explore", PATIENT)  # fresh draws, for `make long`
settings.load_profile("repeatable")
