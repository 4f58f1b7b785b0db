"""Frequent output becomes few messages, and what a person sees in the end is the same."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from dure.worker.batch import Batch, window_s
from dure.worker.spec import AttemptSpec
from dure.worker.spool import Spool


class Stage:
    """A spool behind a batch, with a clock that stands still until told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 0.0
        self.spool = Spool(folder, AttemptSpec("j-1", 1, "cell"))
        self.batch = Batch(self.spool, lambda: None, clock=lambda: self.now)
        self.batch.message("display_data", {"data": {"text/plain": "first"}}, 1)  # opens the window

    def show(self, kind: str, **content: Any) -> None:
        self.batch.message(kind, content, 10)

    def display(self, text: str, display_id: str | None = None, *, update: bool = False) -> None:
        transient = {"display_id": display_id} if display_id else {}
        kind = "update_display_data" if update else "display_data"
        self.show(kind, data={"text/plain": text}, metadata={}, transient=transient)

    def state(self, comm_id: str, **state: Any) -> None:
        self.show("comm_msg", comm_id=comm_id, data={"method": "update", "state": state})

    def written(self) -> list[dict[str, Any]]:
        self.batch.flush()
        lines = (self.folder / "output.jsonl").read_text().splitlines()
        return [{k: v for k, v in json.loads(line).items() if k not in {"seq", "at"}} for line in lines][1:]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_what_comes_after_a_pause_is_written_at_once(stage: Stage):
    stage.now += 10
    stage.display("second")
    assert "second" in (stage.folder / "output.jsonl").read_text()


def test_the_last_of_many_updates_is_written(stage: Stage):
    stage.display("0", "bar")
    for number in range(1, 500):
        stage.display(str(number), "bar", update=True)
    assert [message["data"]["text/plain"] for message in stage.written()] == ["0", "499"]


def test_updates_of_something_older_stay_updates(stage: Stage):
    for number in range(500):
        stage.display(str(number), "older", update=True)
    found = stage.written()
    assert [(message["type"], message["data"]["text/plain"]) for message in found] == [("update_display_data", "499")]


def test_what_is_cleared_at_once_is_never_written(stage: Stage):
    for number in range(500):
        stage.show("clear_output", wait=True)
        stage.batch.text("stdout", f"{number}\n".encode())
    found = stage.written()
    assert [message["type"] for message in found] == ["clear_output", "stream"]
    assert found[1]["text"] == "499\n"


def test_a_clear_that_waits_for_nothing_clears_nothing(stage: Stage):
    stage.batch.text("stdout", b"stays\n")
    stage.show("clear_output", wait=True)
    assert [message.get("text") for message in stage.written()] == ["stays\n", None]


def test_states_of_a_widget_are_merged_but_not_past_a_new_one(stage: Stage):
    for number in range(100):
        stage.state("bar", value=number, bar_style="")
    stage.state("bar", bar_style="success")
    stage.show("comm_open", comm_id="child", data={"state": {}})
    stage.state("bar", children=["child"])
    told = [message["data"]["state"] for message in stage.written()]
    assert told == [{"value": 99, "bar_style": "success"}, {}, {"children": ["child"]}]


def test_what_an_output_widget_captures_stays_between_its_marks(stage: Stage):
    stage.batch.text("stdout", b"outside")
    stage.state("out", msg_id="x")
    stage.batch.text("stdout", b"inside, old")
    stage.show("clear_output", wait=False)
    stage.batch.text("stdout", b"inside")
    stage.state("out", msg_id="")
    stage.batch.text("stdout", b"after")
    told = [message.get("text") or message.get("data", {}).get("state") for message in stage.written()]
    assert told == ["outside", {"msg_id": "x"}, None, "inside", {"msg_id": ""}, "after"]


def test_windows_grow_with_what_is_used():
    assert [window_s(used) for used in (0.0, 0.02, 0.3, 0.9, 1.0)] == [0.02, 0.2, 0.5, 2.0, 2.0]


class Screen:
    """What a notebook shows after a series of messages."""

    def __init__(self) -> None:
        self.outputs: list[dict[str, Any]] = []
        self.states: dict[str, dict[str, Any]] = {}
        self.waits = False

    def play(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "clear_output":
            self.waits = message["wait"]
            if not self.waits:
                self.outputs.clear()
        elif kind == "update_display_data":
            for output in self.outputs:
                if output["id"] == message["transient"].get("display_id"):
                    output["text"] = message["data"]["text/plain"]
        elif kind == "comm_msg":
            self.states.setdefault(message["comm_id"], {}).update(message["data"]["state"])
        else:
            if self.waits:
                self.outputs.clear()
                self.waits = False
            self._shown(message)

    def _shown(self, message: dict[str, Any]) -> None:
        if message["type"] == "stream":
            last = self.outputs[-1] if self.outputs else None
            if last is not None and last["id"] == "stdout":
                last["text"] += message["text"]
            else:
                self.outputs.append({"id": "stdout", "text": message["text"]})
        else:
            shown = {"id": message["transient"].get("display_id"), "text": message["data"]["text/plain"]}
            self.outputs.append(shown)


@pytest.mark.parametrize("seed", range(40))
def test_the_screen_is_the_same_with_and_without_batches(tmp_path: Path, seed: int):
    dice = random.Random(seed)
    stage, plain = Stage(tmp_path), Screen()
    plain.play({"type": "display_data", "data": {"text/plain": "first"}, "transient": {}})
    for number in range(300):
        stage.now += dice.choice([0.0, 0.0, 0.0, 0.015])
        kind = dice.choice(["stream", "display_data", "update_display_data", "clear_output", "comm_msg", "comm_msg"])
        transient = {"display_id": dice.choice(["a", "b"])} if dice.random() < 0.8 else {}
        kinds: dict[str, dict[str, Any]] = {
            "stream": {"name": "stdout", "text": f"{number}\n"},
            "clear_output": {"wait": dice.random() < 0.5},
            "comm_msg": {
                "comm_id": dice.choice("xy"),
                "data": {"method": "update", "state": {dice.choice("pq"): number}},
            },
        }
        content = kinds.get(kind, {"data": {"text/plain": str(number)}, "metadata": {}, "transient": transient})
        plain.play({"type": kind, **content})
        if kind == "stream":
            stage.batch.text("stdout", content["text"].encode())
        else:
            stage.show(kind, **content)
    stage.batch.flush()
    merged = Screen()
    lines = (tmp_path / "output.jsonl").read_text().splitlines()
    for line in lines:
        message = json.loads(line)
        merged.play({"transient": {}, **message})
    assert (merged.outputs, merged.states) == (plain.outputs, plain.states)
    assert len(lines) < 250
