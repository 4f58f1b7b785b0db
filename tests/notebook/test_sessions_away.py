"""Sessions while the platform, the store or both are away, or refuse: said once, nothing lost, saved later."""

import json
import os
import signal
from pathlib import Path
from typing import Any

from pydantic import create_model

from dure.core.session import SessionPolicy
from dure.wire.messages import Wire
from dure.wire.sessions import SaveRequest
from tests.api.plane import until
from tests.notebook.desk import WARM, another_desk, desk, pid_of, plane, server, settled, told

__all__ = ["another_desk", "desk", "plane", "server"]


def test_a_platform_that_was_away_when_the_kernel_started_is_asked_again_without_another_cell(desk, server):
    server.stop()
    kernel = desk.open(
        before=f"{WARM}\nfrom dure.notebook.sessions import session\nsession._ASK_AGAIN_S = 0.5; del dure, session"
    )
    kernel.run("x = 41")
    server.start()
    until(lambda: desk.saved() >= 1)
    os.kill(pid_of(kernel), signal.SIGKILL)
    assert desk.open().value("x") == "41"


def test_it_is_asked_again_too_when_its_turn_came_while_a_cell_ran(desk, server):
    server.stop()
    kernel = desk.open(
        before=f"{WARM}\nfrom dure.notebook.sessions import session\nsession._ASK_AGAIN_S = 0.5; del dure, session"
    )
    kernel.run("import asyncio\nawait asyncio.sleep(2)\nx = 41")  # the kernel's loop goes on meanwhile
    server.start()
    until(lambda: desk.saved() >= 1)
    os.kill(pid_of(kernel), signal.SIGKILL)
    assert desk.open().value("x") == "41"


def test_while_the_platform_is_away_saving_goes_on_and_it_is_told_later(desk, server):
    kernel = desk.open()
    kernel.run("x = 1")
    number = settled(desk)
    server.stop()
    kernel.run("x = 2")
    kernel.run("%session save")
    os.kill(pid_of(kernel), signal.SIGKILL)
    without = desk.open()
    assert without.value("x") == "2"
    os.kill(pid_of(without), signal.SIGKILL)
    server.start()
    again = desk.open()
    assert again.value("x") == "2"
    assert settled(desk) > number


def test_the_platform_is_told_while_a_long_cell_runs(desk, server):
    again = "dure.notebook.sessions.saving.SEND_AGAIN_S = 0.2"
    kernel = desk.open(before=f"{WARM}\nimport dure.notebook.sessions.saving\n{again}; del dure")
    kernel.run("x = 1")
    number = settled(desk)
    server.stop()
    kernel.run("x = 2")
    until(lambda: "on this machine only" in told(kernel.run("%session")))
    waits = kernel.start("import os, time\nwhile not os.path.exists('go'):\n    time.sleep(0.05)")
    server.start()
    until(lambda: desk.saved() > number)
    assert not waits.done
    (desk.home / "go").touch()
    assert waits.wait().ok


def test_undo_takes_back_one_cell_of_several_that_the_platform_has_not_heard_of(desk, server):
    kernel = desk.open()
    kernel.run("x = 1")
    settled(desk)
    server.stop()
    kernel.run("y = 2")
    kernel.run("%session save")
    kernel.run("z = 3")
    kernel.run("%session save")
    assert "versions on this machine only" in kernel.run("%session undo").traceback
    server.start()
    assert "z. Files" in told(kernel.run("%session undo"))
    assert kernel.value("x, y") == "(1, 2)"


def test_a_platform_of_before_is_told_with_who_must_update_and_gets_all_when_it_is_updated(desk, server, monkeypatch):
    known: dict[str, Any] = {name: (field.annotation, field) for name, field in SaveRequest.model_fields.items()}
    del known["session"]
    older: Any = create_model("SaveRequest", __base__=Wire, **known)
    older.session = None
    server.stop()
    monkeypatch.setattr("dure.api.session_routes.SaveRequest", older)
    server.start()
    kernel = desk.open()
    kernel.run("x = 1")
    until(lambda: desk.saved() > 0)  # told in a form that it does not understand, again and again
    number = desk.saved()
    lines: list[str] = []

    def said() -> bool:
        lines.append(told(kernel.run(f"x = 2 + {len(lines)}")))
        return bool(lines[-1])

    until(said)
    assert "The session is not being saved: Dure here is newer than the platform" in lines[-1]
    assert "pip install -U 'dure[server,hub]'" in lines[-1]
    assert [told(kernel.run("pass")) for _ in range(3)] == [""] * 3, "said once"
    assert desk.saved() == number
    server.stop()
    monkeypatch.undo()
    server.start()
    kernel.run("y = 1")
    until(lambda: desk.saved() > number)
    assert told(kernel.run("%session save")).startswith("Saved")


def test_while_the_store_is_away_it_is_said_once_and_saved_by_itself_when_it_is_back(desk, plane):
    kernel = desk.open(
        before=f"{WARM}\nfrom dure.notebook.sessions import session\nsession._TRY_AGAIN_S = 0.2; del dure, session"
    )
    kernel.run("x = 1")
    number = settled(desk)
    root = Path(plane.ports.blobs.access("vision")["root"])
    aside = root.rename(root.with_name("aside"))
    root.write_text("no folder any more")
    kernel.run("x = 2")
    lines = []

    def said() -> bool:
        lines.append(told(kernel.run("pass")))
        return "The session is not being saved" in lines[-1]

    until(said)
    assert [told(kernel.run("pass")) for _ in range(3)] == [""] * 3, "said once"
    assert desk.saved() == number
    assert "The session is not being saved" in told(kernel.run("%session"))
    assert "The session is not being saved: the store of values" in kernel.run("%session save before tuning").traceback
    root.unlink()
    aside.rename(root)
    until(lambda: desk.saved() > number)
    assert "before tuning" in told(kernel.run("%session list")), "a save that is tried again keeps its label"
    os.kill(pid_of(kernel), signal.SIGKILL)
    assert desk.open().value("x") == "2"


def test_what_cannot_be_saved_now_is_not_given_up_for_what_was_saved_before(desk):
    full = "from dure.state import FolderBlobs\n"
    full += "def _full(*_): raise OSError(28, 'No space left on device')\n"
    full += "FolderBlobs.put = _full; del FolderBlobs, _full"
    kernel = desk.open()
    kernel.run("x = 1")
    settled(desk)
    kernel.run("x = 2")
    number = settled(desk)
    kernel.run(full)
    kernel.run("x = 3")
    for command in ("undo", f"restore @{number}"):
        refused = kernel.run(f"%session {command}").traceback
        assert "Nothing was done" in refused
        assert "No space left" in refused
    assert "No space left" in kernel.run("%session fork kept").traceback
    assert kernel.value("x") == "3"
    assert kernel.run("%session off").ok
    assert kernel.run(f"%session restore @{number} x").ok
    assert kernel.value("x") == "2"


def test_an_absent_platform_is_told_where_there_is_something_to_restore(desk, server):
    kernel = desk.open()
    kernel.run("x = 41")
    desk.crash(kernel)
    for journal in (desk.home / ".local/state/dure/sessions").glob("*/*.json"):
        kept = json.loads(journal.read_text())
        journal.write_text(json.dumps(kept | {"access": None}))  # as where blobs are encrypted, or in a bucket
    server.stop()
    kernel = desk.open(LC_ALL="ko_KR.UTF-8")  # in English the desk would ask again
    assert "플랫폼이 아직 응답하지 않아 복원하지 못했습니다" in told(kernel.loaded)
    assert told(desk.open("other.ipynb").loaded) == "", "no news to who works without it"
    server.start()
    kernel.run("import dure.notebook.extension as e; next(iter(e._LOADED.values())).session._asked_at = 0; del e")
    until(lambda: "복원했습니다" in told(kernel.run("pass")))
    assert kernel.value("x") == "41"


def test_without_a_notebook_or_a_platform_every_cell_runs_as_ever(desk, server):
    server.stop()
    kernel = desk.open()
    assert kernel.value("1 + 1") == "2"
    assert "dure" in kernel.run("%session").traceback
    server.start()


def test_beyond_the_quota_it_is_said_once_nothing_is_given_up_and_saved_by_itself_when_there_is_room(desk, plane):
    again = "dure.notebook.sessions.session._REFUSED_AGAIN_S = 0.5"
    kernel = desk.open(before=f"{WARM}\nimport dure.notebook.sessions.session\n{again}; del dure")
    kernel.run("import os; x = 1")
    number = settled(desk)
    object.__setattr__(plane.platform.current, "sessions", SessionPolicy(quota_bytes=3_000_000))
    kernel.run("big = os.urandom(9_000_000)")
    lines = []

    def said() -> bool:
        lines.append(told(kernel.run("pass")))
        return "sessions would hold" in lines[-1]

    until(said)
    assert [told(kernel.run("pass")) for _ in range(3)] == [""] * 3, "said once"
    assert "would be lost" in kernel.run("%session undo").traceback
    assert desk.saved() == number
    kernel.run("del big; y = 2")
    until(lambda: desk.saved() > number)
    assert "not being saved" not in told(kernel.run("%session"))
    desk.crash(kernel)
    assert desk.open().value("x, y") == "(1, 2)"


def test_who_restarts_a_kernel_that_found_no_platform_begins_anew_when_there_is_one(desk, server):
    kernel = desk.open()
    kernel.run("x = 41")
    desk.crash(kernel)
    session = desk.home / ".local" / "state" / "dure" / "sessions"
    for journal in session.glob("*/*.json"):  # as on another machine: nothing can be remembered
        journal.unlink()
    server.stop()
    kernel = desk.open()
    kernel.run("y = 1")
    kernel.client.stop_channels()
    kernel.manager.restart_kernel(now=False)
    kernel.client = kernel.manager.client()
    kernel.client.start_channels()
    kernel.client.wait_for_ready(timeout=60)
    server.start()
    assert "begins empty" in told(kernel.run("%load_ext dure"))
    assert kernel.value("'x' in globals()") == "False"
