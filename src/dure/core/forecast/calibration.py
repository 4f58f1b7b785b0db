"""What jobs of a predicted run time truly took: corrects predictions by the record of earlier ones like them.

The burst rule reckons with it, since money is lost where a long job is believed to be short. The trap: a few very long
jobs make most of the GPU-hours, so it is the mean that is corrected, never the median.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

_DOUBT = 20.0  # a prediction counts as so many jobs that took just as long as was predicted
_KEPT = 500.0  # of so many jobs, old ones count half
_LEAST_S = 1.0


class Calibration:
    """The mean run time of ended jobs by the power of two of seconds that they were predicted to take.

    Predictions that were right stay as they are; those of a class that turned out too low or too high are scaled as
    that class was (a ratio estimator, shrunk towards the prediction while few of its jobs have ended). The longest jobs
    end last: those that run longer than was predicted count as having taken what they have run so far.
    """

    __slots__ = ("_classes", "_overdue")

    def __init__(self) -> None:
        self._classes: dict[int, tuple[float, float, float]] = {}  # jobs, seconds that they took, seconds predicted
        self._overdue: dict[int, tuple[float, float]] = {}  # the same of what runs, without the number

    def overdue(self, running: Iterable[tuple[float, float]]) -> None:
        """Take note of all that runs now: pairs of how many seconds were predicted and how many have passed."""
        self._overdue = {}
        for said_s, ran_s in running:
            predicted_s = max(said_s, _LEAST_S)
            if ran_s > predicted_s:
                took, predicted = self._overdue.get(_class_of(predicted_s), (0.0, 0.0))
                self._overdue[_class_of(predicted_s)] = took + ran_s, predicted + predicted_s

    def learn(self, predicted_s: float, took_s: float) -> None:
        """Take note of how long a job truly held its GPUs, in seconds."""
        predicted_s = max(predicted_s, _LEAST_S)
        jobs, took, predicted = self._classes.get(_class_of(predicted_s), (0.0, 0.0, 0.0))
        known = jobs + 1.0, took + max(took_s, _LEAST_S), predicted + predicted_s
        if known[0] > _KEPT:
            known = known[0] / 2.0, known[1] / 2.0, known[2] / 2.0
        self._classes[_class_of(predicted_s)] = known

    def expected_s(self, predicted_s: float) -> float:
        """Return the mean of how long jobs predicted so took, in seconds."""
        predicted_s = max(predicted_s, _LEAST_S)
        _, took, predicted = self._classes.get(_class_of(predicted_s), (0.0, 0.0, 0.0))
        late, foretold = self._overdue.get(_class_of(predicted_s), (0.0, 0.0))
        doubt_s = _DOUBT * predicted_s
        return predicted_s * (took + late + doubt_s) / (predicted + foretold + doubt_s)


def _class_of(predicted_s: float) -> int:
    return int(math.log2(predicted_s))
