"""What flavor assignment answers: per pod set the flavors, how well they fit, and why the others did not.

The trap: modes are ordered numbers here because Kueue compares them; 0 is no fit, the largest is fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dure.core.queueing.kueue.domains import Spread
from dure.core.queueing.kueue.infos import Progress, Requests
from dure.core.queueing.kueue.objects import Amounts, PodSetAdmission
from dure.core.queueing.kueue.snapshot import QueueNode

if TYPE_CHECKING:
    from dure.core.queueing.kueue.objects import FlavorResource

NO_FIT, PREEMPT, DEFERRED_FIT, FIT = range(4)
MODE_NAMES = ("NoFit", "Preempt", "DeferredFit", "Fit")

NO_CANDIDATES, CAN_PREEMPT, CAN_RECLAIM = range(3)
POSSIBILITY_NAMES = ("NoCandidates", "Preempt", "Reclaim")

SEVERITY = ("", "TopologyPlacementFailed", "WaitingForQuota", "ExceedsMaxQuota", "NoMatchingFlavor")


def most_severe(left: str, right: str) -> str:
    """Return the reason that stands in the user's way longer."""
    return left if SEVERITY.index(left) >= SEVERITY.index(right) else right


@dataclass(slots=True)
class FlavorChoice:
    """The flavor of one resource of a pod set."""

    flavor: str
    mode: int
    borrow: int = 0
    tried: int = 0


@dataclass(slots=True)
class Attempt:
    """How one flavor was judged for one pod set; `possibility` is None where preemption was no question."""

    flavor: str
    mode: int
    borrow: int = 0
    possibility: int | None = None
    reasons: tuple[str, ...] = ()
    no_fit_reason: str = ""


@dataclass(slots=True)
class PodSetResult:
    """The assignment of one pod set; `requests` are of all its pods."""

    name: str
    count: int
    requests: Mapping[str, int]
    flavors: dict[str, FlavorChoice] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    topology: Spread = ()
    error: str = ""
    delayed: str | None = None

    @property
    def mode(self) -> int:
        """How well the pod set fits: its worst resource."""
        if self.error:
            return NO_FIT
        if not self.reasons:
            return FIT
        return min((choice.mode for choice in self.flavors.values()), default=NO_FIT)


@dataclass(frozen=True, slots=True)
class Held:
    """What a workload holds once it is admitted with an assignment: nobody changes any of it."""

    pod_sets: tuple[PodSetAdmission, ...]
    requests: tuple[Requests, ...]
    usage: Amounts


@dataclass(slots=True)
class Assignment:
    """The assignment of a workload; `usage` is what it adds, `borrowing` the height of the subtree that it needs.

    `held` is made when it is first admitted.
    """

    pod_sets: list[PodSetResult] = field(default_factory=list)
    usage: Amounts = field(default_factory=dict)
    borrowing: int = 0
    progress: Progress | None = None
    no_fit_reason: str = ""
    held: Held | None = None
    _mode: int | None = None
    _message: str | None = None

    @property
    def mode(self) -> int:
        """How well the workload fits: its worst pod set. Asked first when the pod sets are complete."""
        if self._mode is None:
            self._mode = min([one.mode for one in self.pod_sets], default=NO_FIT)
        return self._mode

    @property
    def message(self) -> str:
        """Why the workload does not simply fit, in Kueue's words; empty when it does."""
        if self._message is None:
            self._message = self._told()
        return self._message

    @property
    def resumable(self) -> Progress | None:
        """How far the flavors were scanned, if there are any left to try."""
        progress = self.progress
        return progress if progress is not None and progress.unfinished else None

    def _told(self) -> str:
        failed = next((one for one in self.pod_sets if one.error), None)
        if failed is not None:
            return f"failed to assign flavors to pod set {failed.name}: {failed.error}"
        return "; ".join(
            f"couldn't assign flavors to pod set {one.name}: {', '.join(sorted(one.reasons))}"
            for one in self.pod_sets
            if one.reasons
        )

    def needing_preemption(self) -> set[FlavorResource]:
        """Return the flavors and resources that only preemption can free."""
        return {
            (choice.flavor, resource)
            for one in self.pod_sets
            for resource, choice in one.flavors.items()
            if choice.mode == PREEMPT
        }

    def settle(self) -> None:
        """Judge the mode anew from the pod sets, of which one may have failed since."""
        self._mode, self._message = None, None

    def force(self, mode: int) -> None:
        """Set the mode of the workload and of all its flavors."""
        self.force_for(self.pod_sets, mode)

    def force_for(self, pod_sets: Iterable[PodSetResult], mode: int) -> None:
        """Set the mode of the workload and of the flavors of these pod sets."""
        self._mode, self._message = mode, None
        for one in pod_sets:
            for choice in one.flavors.values():
                choice.mode = mode


def merge_attempts(
    known: dict[str, Attempt], found: Iterable[Attempt], resource: str, queue: QueueNode, *, granular: bool = True
) -> None:
    """Merge how flavors were judged for one more resource into what is known: the worst counts.

    `granular` is the gate UnadmittedWorkloadsObservability: only with it attempts carry reason tokens.
    """
    found = list(found)
    for attempt in found:
        before = known.get(attempt.flavor)
        if before is None:
            attempt.reasons = tuple(sorted(set(attempt.reasons)))
            known[attempt.flavor] = attempt
            continue
        possible = [one.possibility for one in (before, attempt) if one.possibility is not None]
        known[attempt.flavor] = Attempt(
            flavor=attempt.flavor,
            mode=min(before.mode, attempt.mode),
            borrow=max(before.borrow, attempt.borrow),
            possibility=min(possible, default=None),
            reasons=tuple(sorted({*before.reasons, *attempt.reasons})),
            no_fit_reason=most_severe(before.no_fit_reason, attempt.no_fit_reason),
        )
    if not found:
        return
    group = queue.group_of(resource)
    present = {attempt.flavor for attempt in found}
    for name, attempt in known.items():
        if group is not None and name in group.flavors and name not in present:
            attempt.mode = NO_FIT
            message = f"flavor {name} does not provide resource {resource}"
            attempt.reasons = tuple(sorted({*attempt.reasons, message}))
            if granular:
                attempt.no_fit_reason = "NoMatchingFlavor"


def no_fit_reason(assignment: Assignment, queue: QueueNode) -> str:
    """Return the reason token of an assignment that does not fit; empty when it does.

    Within a resource group the mildest flavor counts, between groups and pod sets the most severe.
    """
    if assignment.mode != NO_FIT:
        return ""
    overall = ""
    for one in assignment.pod_sets:
        if one.mode != NO_FIT:
            continue
        if not one.attempts:
            overall = most_severe(overall, "NoMatchingFlavor")
            continue
        mildest: dict[int, str] = {}
        for at, attempt in enumerate(one.attempts):
            if attempt.mode != NO_FIT:
                continue
            groups = [i for i, group in enumerate(queue.spec.groups) if attempt.flavor in group.flavors]
            for index in groups or [-1 - at]:
                known = mildest.get(index)
                if known is None or SEVERITY.index(attempt.no_fit_reason) < SEVERITY.index(known):
                    mildest[index] = attempt.no_fit_reason
        for reason in mildest.values():
            overall = most_severe(overall, reason)
    return overall
