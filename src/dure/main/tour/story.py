"""What happened on a platform, read back from its API: who waited how long and why, where each ran, what it cost.

The story is made from events only, as `dure why` does it; the checks are the tour's promise.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dure.amounts import duration, money
from dure.client import Client
from dure.client.words import phase_word
from dure.main.tour.words import say
from dure.wire.messages import EventView, JobView

_LONG_S = 0.1


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
    def burst(self) -> EventView | None:
        """The decision that sent it to a public cluster, with all its inputs."""
        return next((event for event in self.events if event.kind == "job.burst_decided"), None)


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
    lang: str = "en"
    checks: list[Check] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def held(self) -> bool:
        """Whether every check held."""
        return all(check.held for check in self.checks)

    def check(self, what: str, held: bool, detail: str = "") -> None:  # noqa: FBT001 -- the condition is the point
        """Note one thing that had to hold."""
        self.checks.append(Check(what, held, detail))

    def say(self, key: str, **blanks: object) -> str:
        """Return a sentence of the tour in the story's language."""
        return say(self.lang, key, **blanks)

    def check_run(self, *, killed: int) -> None:
        """Check what every tour must show."""
        jobs = [chapter.job for chapter in self.chapters]
        phases = sorted(job.phase for job in jobs)
        waited = [chapter for chapter in self.chapters if chapter.why]
        burst = [chapter for chapter in self.chapters if chapter.burst]
        ended = all(phase in {"succeeded", "failed", "cancelled"} for phase in phases)
        self.check(self.say("all_ended"), ended, self.say("jobs", count=len(jobs)))
        self.check(self.say("some_waited"), len(waited) >= 2, self.say("waited", count=len(waited)))
        self.check(
            self.say("one_burst"),
            len(burst) == 1 and burst[0].job.phase == "succeeded" and burst[0].job.cost > 0,
            ", ".join(chapter.job.name for chapter in burst),
        )
        self.check(self.say("one_stopped"), phases.count("cancelled") == 1)
        self.check(self.say("one_failed"), phases.count("failed") == 1)
        self.check(self.say("one_kill"), killed == 1)
        self.check(self.say("ran_once"), all(job.attempt == 1 for job in jobs))
        self.check(self.say("all_free"), self.gpus_free)

    def where(self, job: JobView) -> str:
        """Return where a job ran; everything in the tour is simulated, and said to be so."""
        if job.lease is None:
            return self.say("nowhere")
        return self.say("where", tier=job.lease.tier, place=f"{job.lease.cluster}/{job.lease.node}")

    def told(self, chapter: Chapter) -> list[str]:
        """Return why a job waited long, why it left the house, and how it ended."""
        lines = []
        if chapter.why and chapter.job.waited_s >= _LONG_S:
            lines.append(self.say("why", sentence=chapter.why))
        if chapter.burst:
            lines.append(self.say("burst", sentence=chapter.burst.sentence))
        if chapter.job.reason_sentence:
            lines.append(self.say("end", sentence=chapter.job.reason_sentence))
        return lines

    def text(self) -> str:
        """Return the story for a terminal."""
        lines = ["", self.say("what_happened"), ""]
        for chapter in self.chapters:
            job = chapter.job
            numbers = self.say(
                "line",
                phase=phase_word(job.phase, self.lang),
                waited=duration(job.waited_s, self.lang),
                ran=duration(job.ran_s, self.lang),
                cost=money(job.cost, self.currency, self.lang),
                where=self.where(job),
            )
            lines.append(f"  {job.user:<6} {job.name[:34]:<26} {numbers}")
            lines += [f"         {line}" for line in self.told(chapter)]
        total = money(sum(chapter.job.cost for chapter in self.chapters), self.currency, self.lang)
        lines += ["", f"  {self.say('total', cost=total, took=duration(self.took_s, self.lang))}"]
        lines += ["", self.say("checks"), ""]
        for check in self.checks:
            detail = f" ({check.detail})" if check.detail else ""
            lines.append(f"  {'ok  ' if check.held else 'FAIL'} {check.what}{detail}")
        return "\n".join(lines) + "\n"


def read_story(client: Client, lang: str) -> Story:
    """Return what the API tells of every job, oldest first. `client` speaks the same language."""
    jobs = sorted(client.jobs(limit=500).jobs, key=lambda job: job.submitted_at)
    chapters = []
    for job in jobs:
        why = client.why(job.id)
        chapters.append(Chapter(why.job, tuple(why.events)))
    free = all(gpu.free == 1 and not gpu.holders for gpu in client.queue().gpus)
    return Story(tuple(chapters), free, client.platform().currency, lang)
