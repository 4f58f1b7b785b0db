"""Every store adds what was used and keeps reservations, in the transaction of the rest."""

from dataclasses import replace

import pytest

from dure.core.events import Draft
from dure.core.reservations import Reservation
from dure.core.usage import Use
from dure.ports import Changes, StaleFenceError

DAY = 86_400.0


def use(day, user="alice", gpu_s=10.0, cost=2.0):
    return Use(day, "vision", user, gpu_s, cost)


def reservation(name="r-1", begins=100.0, **changes):
    return replace(Reservation(name, "vision", "gold", 2000, begins, begins + 50, "root", 1.0, note="ünï"), **changes)


def test_uses_of_one_day_and_person_are_added_up(store):
    store.commit(Changes(uses=(use(DAY), use(DAY), use(DAY, "bob"))), 5.0)
    store.commit(Changes(uses=(use(2 * DAY), use(DAY, cost=1.0))), 6.0)
    assert list(store.uses(DAY)) == [
        use(DAY, gpu_s=30.0, cost=5.0),
        use(DAY, "bob"),
        use(2 * DAY),
    ]
    assert list(store.uses(1.5 * DAY)) == [use(2 * DAY)]


def test_a_refused_commit_adds_nothing(store):
    leads = store.lead("a", 0.0, 5.0)
    assert leads is not None
    with pytest.raises(StaleFenceError):
        store.commit(Changes(uses=(use(DAY),), reservations=(reservation(),)), 5.0, leads.fence - 1)
    assert list(store.uses(0.0)) == []
    assert list(store.reservations(0.0)) == []


def test_a_reservation_comes_back_as_it_was_made_and_what_became_of_it_is_written_once(store):
    made = reservation(user="alice")
    told = Draft("reservation.made", made.id, {"team": "vision"})
    store.commit(Changes(events=(told,), reservations=(made, reservation("r-0", 300.0))), 5.0)
    assert list(store.reservations(0.0)) == [made, reservation("r-0", 300.0)]
    assert [one.id for one in store.reservations(150.0)] == ["r-0"]
    freed = replace(made, freed_at=120.0, freed_why="released")
    store.commit(Changes(reservations=(freed,)), 6.0)
    store.commit(Changes(reservations=(replace(made, used_at=130.0, freed_at=140.0, freed_why="unused"),)), 7.0)
    assert store.reservations(0.0)[0] == replace(freed, used_at=130.0)
