"""Reads what was logged, whatever other tests of the process did to the logging module."""

import logging


class Kept(logging.Handler):
    """What was logged, by a logger that other tests' settings do not reach."""

    def __init__(self):
        super().__init__()
        self.records = []
        self.log = logging.Logger("tests")  # noqa: LOG001 - in no registry: no configuration reaches it
        self.log.addHandler(self)

    @property
    def messages(self):
        return [record.getMessage() for record in self.records]

    def emit(self, record):
        self.records.append(record)
