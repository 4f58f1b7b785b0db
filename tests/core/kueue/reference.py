"""Kueue's quota arithmetic once more, slow and plain: recursive, from quotas and what queues use, nothing kept.

Only for comparison with `tree`. Unlimited is left out; the formulas are in docs/QUEUEING.md.
"""

from dataclasses import dataclass, field

from dure.core.queueing.kueue.objects import Quota


@dataclass
class Plain:
    """A node: its quota, those below it, and what it uses itself, which only a queue does."""

    name: str
    quota: Quota
    parent: "Plain | None" = None
    below: list["Plain"] = field(default_factory=list)
    own: int = 0

    def subtree(self):
        return self.quota.nominal + sum(one.subtree() - one.local() for one in self.below)

    def local(self):
        limit = self.quota.lending_limit
        return 0 if limit is None else max(0, self.subtree() - limit)

    def usage(self):
        return self.own + sum(max(0, one.usage() - one.local()) for one in self.below)

    def free(self):
        if self.parent is None:
            return self.subtree() - self.usage()
        above = self.parent.free()
        if self.quota.borrowing_limit is not None:
            stored = self.subtree() - self.local()
            used_above = max(0, self.usage() - self.local())
            above = min(above, stored - used_above + self.quota.borrowing_limit)
        return max(0, self.local() - self.usage()) + above

    def ceiling(self):
        if self.parent is None:
            return self.subtree()
        most = self.local() + self.parent.ceiling()
        limit = self.quota.borrowing_limit
        return most if limit is None else min(self.subtree() + limit, most)
