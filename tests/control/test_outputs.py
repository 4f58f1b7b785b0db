"""Reading what jobs printed: pages, torn ends, attempts that follow one another, and spools of any shape."""

import json
import random

import pytest

from dure.adapters import outputs
from dure.adapters.outputs import SpoolOutputs
from dure.control.queries import Queries
from dure.core.lifecycle import Signal
from dure.core.model import Phase
from dure.ports import Ports
from dure.sim.executor import Fate
from tests.control.stage import ALICE, Stage


@pytest.fixture
def clusters(tmp_path):
    return tmp_path


def spool(clusters, job="j-1", attempt=1, cluster="lab"):
    folder = clusters / cluster / "attempts" / f"{job}.{attempt}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "output.jsonl"


def line(seq, kind="stream", **content):
    return json.dumps({"seq": seq, "at": 1.0, "type": kind, **content}) + "\n"


def seqs(page):
    return [message["seq"] for message in page.messages]


def test_an_attempt_without_output_yet_is_an_empty_page(clusters):
    reader = SpoolOutputs(clusters)
    assert (seqs(reader.read("j-1", 1, 0)), reader.read("j-1", 1, 0).done) == ([], False)
    spool(clusters)
    assert seqs(reader.read("j-1", 1, 0)) == []
    spool(clusters).touch()
    assert seqs(reader.read("j-1", 1, 0)) == []


def test_pages_follow_each_other_from_any_place(clusters):
    spool(clusters).write_text("".join(line(n, text="x" * n) for n in range(1, 101)) + line(101, "end"))
    reader = SpoolOutputs(clusters)
    seen, after = [], 0
    while not (page := reader.read("j-1", 1, after, 7)).done or page.messages:
        if not page.messages:
            break
        seen += seqs(page)
        after = seen[-1]
    assert seen == list(range(1, 102))
    for after in random.Random(1).sample(range(102), 30):
        for again in (reader, SpoolOutputs(clusters)):
            page = again.read("j-1", 1, after, 5)
            assert seqs(page) == list(range(after + 1, 102))[:5]


def test_done_is_told_at_the_end_message_and_ever_after(clusters):
    spool(clusters).write_text(line(1) + line(2, "end", status="ok"))
    for reader in (SpoolOutputs(clusters), SpoolOutputs(clusters)):
        assert reader.read("j-1", 1, 0, 1).done is False
        assert reader.read("j-1", 1, 1).done is True
        assert reader.read("j-1", 1, 2).done is True
        assert reader.read("j-1", 1, 99).done is True


def test_a_line_that_is_being_written_is_read_when_it_is_whole(clusters):
    path = spool(clusters)
    reader = SpoolOutputs(clusters)
    whole = line(1, text="가") + line(2, text="나")
    data = whole.encode()
    path.write_bytes(b"")
    got: list[int] = []
    for at in range(len(data)):
        with path.open("ab") as file:
            file.write(data[at : at + 1])
        got += seqs(reader.read("j-1", 1, len(got)))
    assert got == [1, 2]


def test_a_torn_last_line_is_never_shown(clusters):
    spool(clusters).write_text(line(1) + line(2)[:-5])
    page = SpoolOutputs(clusters).read("j-1", 1, 0)
    assert (seqs(page), page.done) == ([1], False)


@pytest.mark.parametrize(
    "junk", ["", "null", "[1]", '{"type":"x"}', '{"seq":"1"}', '{"seq":true}', '{"seq":NaN}', "[" * 99_999]
)
def test_what_is_no_message_is_passed_over(clusters, junk):
    spool(clusters).write_text(line(1) + junk + "\n" + line(2))
    reader = SpoolOutputs(clusters)
    assert seqs(reader.read("j-1", 1, 0)) == [1, 2]
    assert seqs(reader.read("j-1", 1, 1)) == [2]


def test_a_page_is_bounded_in_bytes_and_a_huge_line_comes_alone(clusters):
    spool(clusters).write_text(line(1, text="x" * 5_000_000) + line(2, text="x" * 15_000_000) + line(3) + line(4))
    reader = SpoolOutputs(clusters)
    assert [seqs(reader.read("j-1", 1, after)) for after in (0, 1, 2)] == [[1], [2], [3, 4]]
    assert [seqs(SpoolOutputs(clusters).read("j-1", 1, after)) for after in (1, 2)] == [[2], [3]]


def test_a_line_without_end_is_not_taken_into_memory(clusters, monkeypatch):
    monkeypatch.setattr(outputs, "_LINE_BYTES", 1000)
    with spool(clusters).open("wb") as file:
        file.write(line(1).encode())
        file.truncate(50 * 1024**3)
    assert seqs(SpoolOutputs(clusters).read("j-1", 1, 0)) == [1]


def test_positions_are_forgotten_when_there_are_many(clusters, monkeypatch):
    monkeypatch.setattr(outputs, "_REMEMBERED", 10)
    reader = SpoolOutputs(clusters)
    for job in range(50):
        spool(clusters, f"j-{job}").write_text(line(1) + line(2, "end"))
        reader.read(f"j-{job}", 1, 0)
    assert len(reader._positions) == 10
    page = reader.read("j-0", 1, 1)
    assert (seqs(page), page.done) == ([2], True)


@pytest.mark.parametrize("job", ["", "..", "../secret", "j/1", "*", "j-[1]", "j-1\0", "j-1.1"])
def test_a_name_that_is_no_jobs_name_finds_nothing(clusters, job):
    spool(clusters).write_text(line(1))
    (clusters / "secret.1").mkdir()
    assert seqs(SpoolOutputs(clusters).read(job, 1, 0)) == []


def test_links_are_not_followed(clusters, tmp_path):
    (tmp_path / "of-another").write_text(line(1, text="secret"))
    spool(clusters).symlink_to(tmp_path / "of-another")
    assert seqs(SpoolOutputs(clusters).read("j-1", 1, 0)) == []


# --- over attempts, as people read


def test_output_goes_on_from_attempt_to_attempt_and_ends_when_the_job_does(clusters):
    stage = Stage()
    job = stage.submit(retries=2, fate=[Fate(run_s=100.0, lost_after_s=1.0)] * 2 + [Fate(run_s=2.0)])
    ports = Ports(stage.store, {}, SpoolOutputs(clusters), *(None,) * 2, stage.clock, None)  # type: ignore[arg-type]
    queries = Queries(ports, stage.platform, "1")

    def page(cursor):
        found = queries.output(ALICE, job, cursor, 100)
        return [(m["attempt"], m["seq"]) for m in found.messages], found.cursor, found.done

    assert page(None) == ([], "1.0", False)
    stage.wait(1)
    spool(clusters, job, 1).write_text(line(1) + line(2)[:-3])
    assert page(None) == ([(1, 1)], "1.1", False)
    stage.wait(3)
    assert stage.job(job).attempt >= 2
    spool(clusters, job, 2, cluster="cloud").write_text("")
    while stage.job(job).attempt < 3:
        stage.wait(0.5)
    spool(clusters, job, 3).write_text(line(1) + line(2) + line(3, "end"))
    assert page("1.1") == ([(3, 1), (3, 2), (3, 3)], "3.3", False)
    while stage.job(job).phase is not Phase.SUCCEEDED:
        stage.wait(0.5)
    assert page("1.1") == ([(3, 1), (3, 2), (3, 3)], "3.3", True)
    assert page("3.3") == ([], "3.3", True)
    assert page("3.999") == ([], "3.999", True)
    assert page("77.0")[0] == []


def test_a_job_that_never_ran_has_no_output_and_is_done_when_it_ends(clusters):
    stage = Stage()
    ports = Ports(stage.store, {}, SpoolOutputs(clusters), *(None,) * 2, stage.clock, None)  # type: ignore[arg-type]
    queries = Queries(ports, stage.platform, "1")
    job = stage.submit()
    assert queries.output(ALICE, job, None, 10).done is False
    stage.commands.cancel(ALICE, job)
    stage.tick()
    assert stage.events(job)[-1].kind == f"job.{Signal.CANCEL}led"
    found = queries.output(ALICE, job, None, 10)
    assert (found.messages, found.done) == ([], True)
