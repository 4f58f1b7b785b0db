"""How well and how fast the scheduler works: `python -m benchmarks.scheduler [SECTION …] [--short]`.

Sections live in `benchmarks/scheduling/`, one file each; some have options of their own and run alone as well, for
instance `python -m benchmarks.scheduling.philly`. The trap: figures are CPU time, and a busy machine's caches make
even that longer.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from benchmarks.scheduling import kueue, openb, philly, production, why


def _kueue(*, short: bool) -> None:
    kueue.report(short=short)


def _openb(*, short: bool) -> None:
    openb.report(seeds=1 if short else 10)


def _philly(*, short: bool) -> None:
    philly.report(short=short)


def _why(*, short: bool) -> None:
    why.report((100,) if short else (100, 1000))


def _decide(*, short: bool) -> None:
    production.report(short=short)


SECTIONS: dict[str, Callable[..., None]] = {
    "kueue": _kueue,
    "openb": _openb,
    "philly": _philly,
    "why": _why,
    "decide": _decide,
}


def main() -> None:
    """Run the sections that were asked for, or all."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all by default")
    asked.add_argument("--short", action="store_true", help="a minute or two: smaller loads, fewer seeds")
    chosen = asked.parse_args()
    unknown = [name for name in chosen.sections if name not in SECTIONS]
    if unknown:
        asked.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    for name in chosen.sections or SECTIONS:
        print(f"\n## {name}\n")
        SECTIONS[name](short=chosen.short)


if __name__ == "__main__":
    main()
