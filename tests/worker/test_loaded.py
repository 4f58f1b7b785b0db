"""What is installed after a process has loaded its modules makes it outdated; what its own imports write does not."""

import os

from dure.worker.loaded import Loaded


def test_an_installation_counts_once_it_has_settled_and_compiled_files_do_not(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    loaded = Loaded()
    (tmp_path / "__pycache__").mkdir()
    os.utime(tmp_path, ns=(1, 1))
    loaded.fix()
    assert [loaded.outdated(now_s) for now_s in (10.0, 20.0)] == [False, False]
    os.utime(tmp_path, ns=(2, 2))
    assert [loaded.outdated(now_s) for now_s in (30.0, 31.0)] == [False, False]
    os.utime(tmp_path, ns=(3, 3))
    assert [loaded.outdated(now_s) for now_s in (33.0, 34.0, 36.0)] == [False, False, True]
    os.utime(tmp_path, ns=(1, 1))
    assert not loaded.outdated(40.0)
