"""Edits of the platform file while the platform runs: valid, invalid, half written, gone and back."""

import os

import pytest

from dure.adapters.platform_template import initial_text
from dure.core.model import Phase, Team
from dure.main.compose import compose
from dure.main.watch import Chores
from dure.ports import Principal, StoreFullError
from dure.settings import read_settings
from dure.state.store.blobs import digest_of, open_blobs
from dure.wire.messages import JobRequest
from dure.wire.sessions import SaveRequest
from tests.logged import Kept

ROOT = Principal("me", admin=True, teams=("lab",))


@pytest.fixture
def text():
    return initial_text([], "me")


@pytest.fixture
def parts(tmp_path, text):
    (tmp_path / "platform.yaml").write_text(text)
    (tmp_path / "token").write_text("a-token-that-nobody-can-guess-0123456789\n")
    composed = compose(read_settings(tmp_path, {}, port=0))
    yield composed
    composed.close()


@pytest.fixture
def follow(parts):
    """Look at the file `times` times, as the chore does every second."""
    chores = Chores(parts)

    def look(times=2):
        for _ in range(times):
            chores._follow_file()

    return look


def edit(parts, content):
    parts.settings.platform_file.write_text(content)


def kinds(parts):
    told = [event.kind for event in parts.store.events(0, 1000)]
    return [kind for kind in told if kind.startswith("platform.")]


def test_a_file_that_is_not_touched_is_not_loaded_again(parts, follow):
    follow(5)
    assert kinds(parts) == []


def test_a_valid_edit_is_taken_once(parts, follow, text):
    edit(parts, text.replace("name: lab", "name: lab2", 1))
    before = parts.platform.current
    follow(1)
    assert parts.platform.current is before, "an editor may be in the middle of it"
    follow(5)
    assert parts.platform.current != before
    assert kinds(parts) == ["platform.loaded"]


def test_an_invalid_edit_is_refused_and_the_old_one_stays(parts, follow, text):
    before = parts.platform.current
    edit(parts, text + "\nno_such_section: 1\nclusters: 7\n")
    follow(5)
    assert parts.platform.current is before
    assert kinds(parts) == ["platform.refused"]
    assert "platform.yaml" in (parts.platform.error or "")
    assert parts.platform.error in parts.queries.platform(ROOT, "en").notices
    job = parts.commands.submit(ROOT, JobRequest(kind="cell", name="x", payload={"code": "1"}), None)
    assert job.phase is Phase.QUEUED, "work goes on"
    edit(parts, text)
    follow(5)
    assert parts.platform.error is None
    assert kinds(parts) == ["platform.refused", "platform.loaded"]


def test_a_file_written_in_pieces_is_read_when_it_rests(parts, follow, text):
    new = text.replace("currency: KRW", "currency: USD")
    assert new != text
    for end in range(0, len(new), max(1, len(new) // 9)):
        edit(parts, new[:end])
        follow(1)
    edit(parts, new)
    follow(2)
    assert kinds(parts) == ["platform.loaded"]
    assert parts.platform.current.currency == "USD"


def test_a_file_that_rests_half_written_is_refused_and_taken_when_it_is_whole(parts, follow, text):
    edit(parts, text[: len(text) // 2])
    follow(3)
    edit(parts, text)
    follow(3)
    assert kinds(parts) == ["platform.refused", "platform.loaded"]
    assert parts.platform.error is None


def test_a_file_that_is_deleted_is_told_and_its_return_too(parts, follow, text):
    before = parts.platform.current
    parts.settings.platform_file.unlink()
    follow(4)
    assert parts.platform.current is before
    assert kinds(parts) == ["platform.refused"]
    assert "dure init" in (parts.platform.error or "")
    edit(parts, text)
    follow(4)
    assert kinds(parts) == ["platform.refused", "platform.loaded"]
    assert parts.platform.error is None


def test_a_folder_in_its_place_is_told(parts, follow, text):
    parts.settings.platform_file.unlink()
    parts.settings.platform_file.mkdir()
    follow(3)
    assert kinds(parts) == ["platform.refused"]
    parts.settings.platform_file.rmdir()
    edit(parts, text)
    follow(3)
    assert parts.platform.error is None


@pytest.mark.parametrize("broken", ["", "no_such_section: 1\n"])
def test_an_edit_that_cannot_be_recorded_is_tried_again_in_silence(parts, follow, broken, monkeypatch):
    kept = Kept()
    monkeypatch.setattr("dure.main.watch.log", kept.log)
    edit(parts, parts.settings.platform_file.read_text().replace("currency: KRW", "currency: USD") + broken)

    def full(*_arguments):
        raise StoreFullError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(type(parts.store), "commit", full)
        follow(1)
        for _ in range(3):
            with pytest.raises(StoreFullError):
                follow(1)
        assert "platform.refused" not in kept.messages
    follow(1)
    assert kinds(parts) == ["platform.refused" if broken else "platform.loaded"]
    assert kept.messages.count("platform.refused") == (1 if broken else 0)


def test_a_new_cluster_has_an_executor_and_one_that_went_keeps_its_own(parts, follow, text):
    assert set(parts.executors) == {"lab", "cloud"}
    edit(parts, text.replace("name: cloud", "name: nimbus"))
    follow(3)
    assert parts.platform.error is None
    assert set(parts.executors) == {"lab", "cloud", "nimbus"}


def test_after_a_restart_a_cluster_that_went_still_has_one_while_its_attempts_are_there(tmp_path, parts, text):
    edit(parts, text.replace("name: cloud", "name: nimbus"))
    again = compose(read_settings(tmp_path, {}, port=0))
    try:
        assert set(again.executors) == {"lab", "cloud", "nimbus"}
        assert [cluster.name for cluster in again.platform.current.clusters] == ["lab", "nimbus"]
    finally:
        again.close()


def test_a_blob_that_one_team_damaged_keeps_no_other_teams_garbage(parts):
    teams = (Team("lab", ("me",)), Team("speech", ("other",)))
    object.__setattr__(parts.platform.current, "teams", teams)
    lab, speech = (open_blobs(parts.ports.blobs.access(team.name)) for team in teams)
    damaged, garbage = lab.put(b'{"a": 1}'), speech.put(b"garbage")
    for blobs, digest in ((lab, damaged), (lab, lab.put(b"more")), (speech, garbage)):
        path = blobs.path(digest)
        assert path is not None
        if digest == damaged:
            path.write_bytes(b'{"a": 2}')
        os.utime(path, (0, 0))
    parts.sessions.save(ROOT, SaveRequest(name="n", team="lab", parent=0, kernel="k", document=damaged))
    Chores(parts)._collect()
    assert not speech.has(garbage)
    assert lab.has(digest_of(b"more")), "where there is a doubt nothing goes"


OBJECTS = """\
apiVersion: kueue.x-k8s.io/v1beta2
kind: ResourceFlavor
metadata: {name: gold}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ClusterQueue
metadata: {name: shared}
spec:
  namespaceSelector: {}
  resourceGroups:
    - coveredResources: [nvidia.com/gpu]
      flavors: [{name: gold, resources: [{name: nvidia.com/gpu, nominalQuota: 1}]}]
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {namespace: lab, name: main}
spec: {clusterQueue: shared}
"""


def test_an_edit_of_a_kueue_file_is_followed_like_one_of_the_platform_file(parts, follow):
    own = """\
clusters: [{name: lab, nodes: [{name: n1, tier: gold, gpus: 4, simulated: true}]}]
tiers: [{name: gold}]
teams: [{name: lab, members: ["*"]}]
environments: [{name: default, python: python3}]
kueue: [objects.yaml]
"""
    objects = parts.settings.platform_file.parent / "objects.yaml"
    edit(parts, own)
    follow()
    assert "objects.yaml: there is no such file" in str(parts.platform.error)
    objects.write_text(OBJECTS)
    follow()
    assert parts.platform.error is None
    assert parts.platform.current.teams[0].quota_milli == {"gold": 1000}
    objects.write_text(OBJECTS.replace("nominalQuota: 1", "nominalQuota: 3"))
    follow()
    assert parts.platform.current.teams[0].quota_milli == {"gold": 3000}
    objects.write_text(OBJECTS.replace("nominalQuota: 1", "nominalQuota: many"))
    follow()
    assert "objects.yaml:12: ClusterQueue shared" in str(parts.platform.error)
    assert parts.platform.current.teams[0].quota_milli == {"gold": 3000}
