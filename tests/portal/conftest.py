"""A whole control plane for these tests: real store, loop, API and portal over HTTP; only the GPUs are simulated.

Attempts begin and end when a test says so, and what they print is written where real runners write it.
"""

import json
import socket
import threading
import time
from dataclasses import replace
from functools import partial

import httpx
import pytest
import uvicorn

from dure.adapters.blobs import FolderBlobStores
from dure.adapters.identity.token import TokenIdentity
from dure.adapters.outputs import SpoolOutputs
from dure.adapters.store import SqlStore
from dure.adapters.system import SystemIds
from dure.api.app import create_app
from dure.control.commands import Commands
from dure.control.loop import Loop, LoopSettings
from dure.control.platform_holder import PlatformHolder
from dure.control.queries import Queries
from dure.control.sessions import Sessions
from dure.control.stream_hints import StreamHints
from dure.main.loop_thread import LoopThread
from dure.portal.app import mount
from dure.portal.sign_in import TokenSignIn
from dure.ports import Ports, Principal
from dure.sim.executor import Fate, SimClock, SimCluster, World
from dure.wire.messages import JobRequest
from tests.core.builders import a_cloud, a_lab, a_platform, a_team

ALICE = Principal("alice", admin=False, teams=("vision",))
BOB = Principal("bob", admin=False, teams=("speech",))
MATE = Principal("minho", admin=False, teams=("vision",))
ADA = Principal("ada", admin=True, teams=("vision",))
TOKENS = {f"{person.name}-0123456789abcdef": person for person in (ALICE, BOB, MATE, ADA)}
DEADLINE_S = 60.0


def until(condition, what):
    """Return the condition's first true value; fail with `what` after the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {DEADLINE_S} s"
        time.sleep(0.02)
    return value


class RealClock(SimClock):
    """Real time for the simulated machines, since browsers have no other."""

    def now(self):
        return time.time()


class Plane:
    """One control plane with its web server in a thread; `stop` and `serve` cut and bring back the web alone."""

    def __init__(self, folder, base_path=""):
        self.base = base_path
        self.folder = folder
        self.clock = RealClock()
        self.platform = PlatformHolder(
            a_platform(
                a_lab(),
                a_cloud(2),
                teams=[a_team("vision", members=("alice", "ada")), a_team("speech", members=("bob",))],
            )
        )
        self.store = SqlStore(f"sqlite:///{folder / 'dure.db'}")
        self.store.migrate()
        self.world = World(self.clock)
        self.fates: dict[str, Fate] = {}
        clusters = {
            name: SimCluster(self.world, lambda job, _attempt: self.fates.get(job, Fate(0.05, 10_000)))
            for name in ("lab", "cloud")
        }
        self.blobs = FolderBlobStores(folder / "blobs")
        self.outputs_folder = folder / "clusters"
        identity = TokenIdentity(TOKENS)
        outputs = SpoolOutputs(self.outputs_folder)
        ports = Ports(self.store, clusters, outputs, self.blobs, identity, self.clock, SystemIds())
        self.stream_hints = StreamHints()
        settings = LoopSettings("test", idle_s=0.05)
        self.loop = LoopThread(Loop(ports, self.platform, settings, lambda _now: 0.0, self.stream_hints.notify))
        self.commands = Commands(ports, self.platform, self.loop.hint)
        self.sessions = Sessions(self.store.sessions, self.blobs, self.platform, self.clock, self.stream_hints.notify)
        self.notices: list[str] = []
        self.queries = Queries(ports, self.platform, "0.1.0", self.loop.current_plan, lambda _lang: self.notices)
        sign_in = TokenSignIn(identity, "a secret of these tests", base_path)
        self.app = create_app(
            self.commands,
            self.queries,
            identity,
            self.stream_hints,
            self.sessions,
            base_path=base_path,
            version="0.1.0",
            portal_mount=partial(mount, sign_in=sign_in, store=self.store, clock=self.clock),
        )
        self.port = None
        self.clients = []
        self.serve()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}{self.base}/"

    def serve(self):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port or 0))
        self.port = listener.getsockname()[1]
        self.app.state.streams.closing = False
        config = uvicorn.Config(self.app, log_level="error", lifespan="off", timeout_graceful_shutdown=2)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]}, daemon=True)
        self.thread.start()
        until(lambda: self.server.started, "the web server's start")
        self.listener = listener

    def stop(self):
        self.app.state.streams.close()
        self.server.should_exit = True
        self.thread.join(DEADLINE_S)
        self.listener.close()

    def close(self):
        for client in self.clients:
            client.close()
        self.stop()
        self.loop.close()
        self.store.close()

    def submit(self, who=ALICE, name="train", tier="gold", **options):
        request = JobRequest(kind="cell", name=name, payload={"code": "1"}, tier=tier, **options)
        return self.commands.submit(who, request, None)

    def phase(self, job, phase):
        until(lambda: self.stored(job).phase == phase, f"{job.id} {phase}")

    def stored(self, job):
        found = self.store.job(job.id)
        assert found is not None
        return found

    def running(self, *args, **options):
        job = self.submit(*args, **options)
        self.phase(job, "running")
        return job

    def end(self, job, result=None):
        attempt = self.world.attempts[job.id, self.stored(job).attempt]
        attempt.fate = replace(attempt.fate, run_s=0.0, result=result or {"status": "ok"})
        self.loop.hint()
        until(lambda: self.stored(job).phase.terminal, f"the end of {job.id}")

    def prints(self, job, *messages, attempt=1):
        spool = self.outputs_folder / "lab" / "attempts" / f"{job.id}.{attempt}" / "output.jsonl"
        spool.parent.mkdir(parents=True, exist_ok=True)
        known = spool.read_text().count("\n") if spool.exists() else 0
        with spool.open("a") as file:
            for number, message in enumerate(messages, known + 1):
                file.write(json.dumps({"seq": number, "at": self.clock.now(), **message}) + "\n")
        self.stream_hints.notify()

    def http(self, who=ALICE, **headers):
        client = httpx.Client(base_url=self.url, headers=headers, trust_env=False, follow_redirects=True, timeout=60)
        self.clients.append(client)
        if who is not None:
            assert client.get(f"?token={token(who)}").status_code == 200
        return client


def token(person):
    return next(token for token, known in TOKENS.items() if known == person)


@pytest.fixture
def plane(tmp_path, request):
    """At the root by default; `@pytest.mark.parametrize("plane", ["/services/dure"], indirect=True)` for a prefix."""
    found = Plane(tmp_path, getattr(request, "param", ""))
    found.loop.start()
    yield found
    found.close()


@pytest.fixture
def open_page(chromium, plane):
    """Open a signed-in page; what its console complains of fails the test at its end."""
    contexts, complaints = [], []

    def opening(who=ALICE, path="", width=1280, **options):
        options = {"locale": "en-GB", "viewport": {"width": width, "height": 800}} | options
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(DEADLINE_S * 1000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.extend([message.text] if message.type == "error" else []))
        page.complaints = complaints
        page.goto(f"{plane.url}?token={token(who)}")
        if path:
            page.goto(f"{plane.url}{path}")
        return page

    yield opening
    for context in contexts:
        context.close()
    assert complaints == []
