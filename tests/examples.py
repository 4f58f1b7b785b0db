"""Which examples the property tests look at: the same ones in every run of one tree, or many new ones.

Trap: hypothesis also draws constants that it finds in whichever of our modules are loaded by then. One test's examples
then depend on the tests before it, and on every other module's text, so a run that is to be the same leaves them out.
"""

import os

from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

TIMES = int(os.environ.get("DURE_EXAMPLES", "0"))  # `make properties` sets it
"""How many times as many examples as usual, drawn anew in each run; 0: the usual ones, the same in each run."""

BY_CHANCE = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
"""Checks of an example's time and size: on a busy machine, or after enough draws, they fail without a defect."""


def examples(usual: int) -> int:
    """For `@settings(max_examples=…)`: how many a test looks at that is too slow, or too quick, for the usual 100."""
    return usual * max(TIMES, 1)


def choose() -> None:
    """Set what holds for each property test of this process, before any of them is loaded."""
    patient = settings(deadline=None, suppress_health_check=BY_CHANCE, print_blob=True)
    settings.register_profile("ci", patient, derandomize=True)
    settings.register_profile("properties", patient, max_examples=examples(100), derandomize=False)
    settings.load_profile("properties" if TIMES else "ci")
    if not TIMES:
        nothing = Constants()
        providers._get_local_constants = lambda: nothing
