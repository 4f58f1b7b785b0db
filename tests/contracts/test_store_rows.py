"""A job is read as exactly what was written, whatever is in it."""

from collections import namedtuple
from dataclasses import fields
from typing import Any, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dure.adapters.store.rows import digests, job_of, job_row
from dure.core.model import Job
from tests.examples import BY_CHANCE, examples

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.text(), PLAIN, max_size=5)
HINTS = get_type_hints(Job)
ANY_FIELD = {field.name: st.from_type(HINTS[field.name]) for field in fields(Job) if "Mapping" not in field.type}
DOCUMENTED = {
    "payload": DOCUMENTS, "failure": DOCUMENTS, "result": st.none() | DOCUMENTS,
    "inputs": st.dictionaries(st.text("0123456789abcdef", min_size=1), st.integers(1), max_size=3),
}  # fmt: skip
JOBS = st.builds(Job, **(ANY_FIELD | DOCUMENTED))
# What a database column can hold and the wire lets through.
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
TIMES = st.floats(allow_nan=False, allow_infinity=False)
COLUMNS = {
    "id": NAMES, "user": NAMES, "team": NAMES, "request_key": st.none() | NAMES, "submitted_at": TIMES,
    "queued_at": TIMES, "ended_at": st.none() | TIMES, "cost": TIMES, "version": st.integers(0, 2**62),
}  # fmt: skip
STORABLE_JOBS = st.builds(Job, **(ANY_FIELD | DOCUMENTED | COLUMNS))


def test_every_field_that_is_a_document_is_named_here():
    assert {field.name for field in fields(Job)} - set(ANY_FIELD) == set(DOCUMENTED)


@given(JOBS)
def test_a_job_comes_back_from_its_row(job):
    columns = job_row(job)
    row: Any = namedtuple("Row", columns)(**columns)  # noqa: PYI024 - a stand-in for SQLAlchemy's row
    assert repr(job_of(row)) == repr(job)  # by repr, since NaN equals nothing


@settings(max_examples=examples(60), suppress_health_check=[*BY_CHANCE, HealthCheck.function_scoped_fixture])
@given(job=STORABLE_JOBS)
def test_a_job_comes_back_from_the_database(store, job):
    if store.job(job.id) is None:
        stored = store.submit(job, [], 0.0)  # an earlier example's job when its request key is drawn again
        assert repr(store.job(stored.id)) == repr(stored)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, set()),
        ('{"a":"' + "ab" * 32 + '"}', {"ab" * 32}),
        ('["' + "ab" * 33 + '","' + "AB" * 32 + '"]', set()),
        ('{"' + "01" * 32 + '":["' + "23" * 32 + '"]}', {"01" * 32, "23" * 32}),
    ],
)
def test_digests_are_found_wherever_they_stand(text, found):
    assert digests(text) == found
