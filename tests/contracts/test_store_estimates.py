"""Estimates of starts in the database: what goes in comes out, and no more is kept than asked."""

from dataclasses import replace

from dure.core.forecast.record import Issued


def issued(job_id, number=0, at=100.0, began_at=None):
    return Issued(job_id, number, at, 60.0, 600.0, 70.0, 500.0, began_at)


def test_what_was_written_is_read_again_oldest_first(store):
    second = issued("j-2", at=200.0)
    store.estimates.write([second, issued("j-1"), issued("j-1", 1, 150.0)], (), 100)
    assert list(store.estimates.recent(10)) == [issued("j-1"), issued("j-1", 1, 150.0), second]


def test_what_came_true_takes_the_place_of_what_was_open(store):
    store.estimates.write([issued("j-1")], (), 100)
    settled = replace(issued("j-1"), began_at=170.0)
    store.estimates.write([settled], (), 100)
    assert list(store.estimates.recent(10)) == [settled]


def test_estimates_of_jobs_that_never_start_are_dropped(store):
    store.estimates.write([issued("j-1"), issued("j-2")], (), 100)
    store.estimates.write([], ["j-1"], 100)
    assert [one.job_id for one in store.estimates.recent(10)] == ["j-2"]


def test_only_the_newest_of_those_that_came_true_are_kept_and_all_open_ones(store):
    settled = [issued(f"j-{n}", began_at=100.0 + n) for n in range(20)]
    store.estimates.write([*settled, issued("open")], (), 5)
    found = store.estimates.recent(100)
    assert {one.job_id for one in found} == {"open", *(f"j-{n}" for n in range(15, 20))}
