"""The reservations that a policy itself brings along: `reservations.calendar` of its file, for replays only.

The trap: a running platform keeps its calendar in its database, so its own platform file has none and refuses the key.
"""

from __future__ import annotations

from typing import Any

from dure.core.model import WHOLE_GPU_MILLI, Platform
from dure.core.reservations import Reservation
from dure.sim.traces import BadRow, Row

_KEYS = frozenset({"tier", "gpus", "team", "user", "from", "to"})


def reservation(number: int, item: Any, platform: Platform) -> Reservation:
    """Return the reservation that an entry of the list describes, known from the beginning. Raises BadRow."""
    if not isinstance(item, dict) or not set(item) <= _KEYS:
        raise BadRow("not_reservation")
    row = Row(item)
    begins_at, ends_at = row.time("from"), row.time("to")
    if ends_at <= begins_at:
        raise BadRow("ends_before", column="to", value=row.text("to"))
    gpus = row.number("gpus", 1.0, least=1.0)
    if gpus != int(gpus):
        raise BadRow("part_of_several", column="gpus", value=row.text("gpus"))
    return Reservation(
        id=f"calendar-{number}",
        team=_known(row, "team", [team.name for team in platform.teams]),
        tier=_known(row, "tier", [tier.name for tier in platform.tiers]),
        gpus_milli=int(gpus) * WHOLE_GPU_MILLI,
        begins_at=begins_at,
        ends_at=ends_at,
        made_by="",
        made_at=float("-inf"),
        user=row.text("user", "") or None,
    )


def _known(row: Row, column: str, choices: list[str]) -> str:
    value = row.text(column)
    if value not in choices:
        raise BadRow("no_such", column=column, value=value[:60], choices=", ".join(choices))
    return value
