"""A restore where the classes live already: what was shared with a class is shared with it again."""

from typing import Any

from dure.state import FolderBlobs, capture, restore

CELL = """
class Borg:
    shared = {}
    def __init__(self): self.__dict__ = self.shared
x, y = Borg(), Borg()
x.k = 5
class Config:
    seen = [1]
    own = {}
alias = Config.seen
"""


def test_what_is_shared_with_a_class_stays_so_where_that_class_lives(tmp_path):
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(CELL, scope)
    blobs = FolderBlobs(tmp_path)
    snapshot = capture(scope, blobs=blobs)
    borg, own = scope["Borg"], scope["Config"].own
    for change in ("", "x.k = 7; Config.seen.append(9)"):
        exec(change, scope)
        assert restore(snapshot, blobs, into=scope).failed == {}
        assert scope["Borg"] is borg
        assert (scope["x"].k, scope["y"].k, borg().k) == (5, 5, 5)
        assert vars(scope["x"]) is vars(scope["y"]) is borg.shared
        assert scope["alias"] is scope["Config"].seen
        assert scope["alias"] == [1]
        assert scope["Config"].own is own  # nobody else has it
