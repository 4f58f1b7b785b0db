"""What happened on a platform, read back from its API: who waited how long and why, where each ran, what it cost.

The story is made from events only, as `dure why` does it; the checks are the tour's promise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dure.amounts import duration, money
from dure.client import Client
from dure.wire.messages import EventView, JobView


@dataclass(frozen=True, slots=True)
class Chapter:
    """One job and its events in order."""

    job: JobView
    events: tuple[EventView, ...]

    @property
    def why(self) -> str | None:
        """The last reason that the log gives for its waiting, None when it did not have to wait."""
        waits = [event.sentence for event in self.events if event.kind == "job.waiting"]
        return waits[-1] if waits else None

    @property
    def burst(self) -> dict[str, Any] | None:
        """The inputs of the decision that sent it to a public cluster."""
        return next((event.data for event in self.events if event.kind == "job.burst_decided"), None)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that had to hold."""

    what: str
    held: bool
    detail: str = ""


@dataclass
class Story:
    """Every job, and every check."""

    chapters: tuple[Chapter, ...]
    gpus_free: bool
    currency: str
    checks: list[Check] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def held(self) -> bool:
        """Whether every check held."""
        return all(check.held for check in self.checks)

    def check(self, what: str, held: bool, detail: str = "") -> None:  # noqa: FBT001 -- the condition is the point
        """Note one thing that had to hold."""
        self.checks.append(Check(what, held, detail))

    def check_run(self, *, killed: int) -> None:
        """Check what every tour must show."""
        jobs = [chapter.job for chapter in self.chapters]
        phases = sorted(job.phase for job in jobs)
        waited = [chapter for chapter in self.chapters if chapter.why]
        burst = [chapter for chapter in self.chapters if chapter.burst]
        self.check(
            "every job ended", all(p in {"succeeded", "failed", "cancelled"} for p in phases), f"{len(jobs)} jobs"
        )
        self.check("some cells waited, each with a reason", len(waited) >= 2, f"{len(waited)} waited")
        self.check(
            "exactly one cell went to the public cloud and was charged for it",
            len(burst) == 1 and burst[0].job.phase == "succeeded" and burst[0].job.cost > 0,
            ", ".join(chapter.job.name for chapter in burst),
        )
        self.check("exactly one cell was stopped", phases.count("cancelled") == 1)
        self.check("exactly one cell failed by its own error", phases.count("failed") == 1)
        self.check("the control plane was killed once", killed == 1)
        self.check("every job ran exactly once", all(job.attempt == 1 for job in jobs))
        self.check("every GPU is free", self.gpus_free)

    def text(self) -> str:
        """Return the story for a terminal."""
        lines = ["", "What happened", ""]
        for chapter in self.chapters:
            job = chapter.job
            where = f"{job.lease.tier} on {job.lease.cluster}/{job.lease.node} (simulated)" if job.lease else "nowhere"
            lines.append(
                f"  {job.user:<6} {job.name[:34]:<34} {job.phase:<10} waited {duration(job.waited_s, 'en'):>7}  ran "
                f"{duration(job.ran_s, 'en'):>7}  {money(job.cost, self.currency):>10}  {where}"
            )
            if chapter.why and job.waited_s >= 0.1:
                lines.append(f"         why: {chapter.why}")
            if chapter.burst:
                burst = next(e.sentence for e in chapter.events if e.kind == "job.burst_decided")
                lines.append(f"         burst: {burst}")
            if job.reason_sentence:
                lines.append(f"         end: {job.reason_sentence}")
        total = sum(chapter.job.cost for chapter in self.chapters)
        lines += ["", f"  All together {money(total, self.currency)} in {self.took_s:.0f} s.", "", "Checks", ""]
        for check in self.checks:
            detail = f" ({check.detail})" if check.detail else ""
            lines.append(f"  {'ok  ' if check.held else 'FAIL'} {check.what}{detail}")
        return "\n".join(lines) + "\n"


def read_story(client: Client) -> Story:
    """Return what the API tells of every job, oldest first."""
    jobs = sorted(client.jobs(limit=500).jobs, key=lambda job: job.submitted_at)
    chapters = []
    for job in jobs:
        why = client.why(job.id)
        chapters.append(Chapter(why.job, tuple(why.events)))
    free = all(gpu.free == 1 and not gpu.holders for gpu in client.queue().gpus)
    return Story(tuple(chapters), free, client.platform().currency)
