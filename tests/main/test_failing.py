"""What fails again and again is in the log when it begins, changes and ends."""

import logging

from dure.main.failing import Failing
from dure.ports import StoreUnavailableError


class Kept(logging.Handler):
    """What was logged, by a logger that other tests' settings do not reach."""

    def __init__(self):
        super().__init__()
        self.records = []
        self.log = logging.Logger("tests")  # noqa: LOG001 - in no registry: no configuration reaches it
        self.log.addHandler(self)

    def emit(self, record):
        self.records.append(record)


def tried(kept, *outcomes):
    failing = Failing(kept.log, "tick.failed")
    for outcome in outcomes:
        if outcome is None:
            failing.succeeded()
        else:
            failing.failed(outcome)
    return [(record.levelname, record.getMessage(), getattr(record, "error", None)) for record in kept.records]


def test_a_database_that_is_away_is_told_once_and_so_is_its_return():
    away = [StoreUnavailableError("The database cannot be used.") for _ in range(3)]
    assert tried(Kept(), None, *away, None, None, away[0]) == [
        ("WARNING", "tick.failed", "The database cannot be used."),
        ("INFO", "tick.failed.over", None),
        ("WARNING", "tick.failed", "The database cannot be used."),
    ]


def test_a_defect_is_told_with_its_traceback_and_another_one_too():
    kept = Kept()
    told = tried(kept, ValueError("one"), ValueError("one"), KeyError("other"))
    assert [level for level, _, _ in told] == ["ERROR", "ERROR"]
    assert [record.exc_info[0] for record in kept.records] == [ValueError, KeyError]
