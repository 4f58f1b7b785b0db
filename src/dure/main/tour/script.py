"""The tour itself: two people, seven notebooks, more cells than GPUs, one burst, one stop, one failure, one kill -9.

Nothing is scripted beyond what people do; what the platform did is read back from its API and checked. The trap: on a
slow machine things take longer but must come out the same, so steps wait for conditions, never for a time.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import click

import dure
from dure.adapters import processes
from dure.amounts import duration
from dure.client import Client, DureError, Login
from dure.client.config import language
from dure.hub import front_door
from dure.main import running
from dure.main.tour.report import write_report
from dure.main.tour.story import Story, read_story
from dure.main.tour.words import say
from dure.main.tour.workspace import Notebook, Person, TourError

EXAMPLES = Path(dure.__file__).with_name("examples")
_STEP_S = 90.0
_POLL_S = 0.1

_PLATFORM = """\
# The tour's platform: everything here is simulated, and said to be so.
name: dure-demo
currency: KRW
admins: [alice]
tiers:
  - {{name: bronze, price_per_gpu_hour: 300, description: small}}
  - {{name: silver, price_per_gpu_hour: 600, description: medium}}
  - {{name: gold, price_per_gpu_hour: 1500, description: large}}
clusters:
  - name: lab
    kind: private
    nodes:
      - {{name: sim-bronze, tier: bronze, gpus: 2, simulated: true}}
      - {{name: sim-silver, tier: silver, gpus: 1, simulated: true}}
      - {{name: sim-gold, tier: gold, gpus: 1, simulated: true}}
  - name: cloud
    kind: public
    provision_s: 2
    prices: {{gold: 4000}}
    nodes:
      - {{name: cloud-1, tier: gold, gpus: 2, simulated: true}}
teams:
  - {{name: vision, members: [alice], budget_per_month: 100000}}
  - {{name: language, members: [bob], budget_per_month: 100000}}
priorities:
  - {{name: normal, value: 0}}
burst: {{enabled: true, rule: fixed, wait_s: 2}}
data_classes:
  - {{name: open, may_leave: true}}
environments:
  - name: default
    python: {python}
    preimports: [numpy, sklearn.datasets, sklearn.svm, sklearn.neural_network, sklearn.ensemble]
"""


@dataclass(frozen=True, slots=True)
class Part:
    """One notebook of the tour: whose it is, after which moment it is run, and which errors it must end with."""

    notebook: str
    person: str
    after: str | None = None
    errors: tuple[str, ...] = ()


PARTS = (
    Part("digits.ipynb", "alice"),
    Part("sweep.ipynb", "alice"),
    Part("hold_gold.ipynb", "alice"),
    Part("burst.ipynb", "bob", after="gold is taken"),
    Part("interrupted.ipynb", "bob", errors=("RemoteInterrupt",)),
    Part("fails.ipynb", "bob", errors=("ZeroDivisionError",)),
)
PYTORCH = Part("pytorch.ipynb", "alice")


@dataclass
class Tour:
    """The state of a running tour."""

    platform: front_door.Running
    people: dict[str, Person]
    client: Client
    lang: str
    moments: dict[str, threading.Event] = field(default_factory=dict)
    killed: int = 0

    def wait(self, what: str, condition: Callable[[], bool]) -> None:
        """Return when the condition holds; the control plane may be away meanwhile."""
        deadline = time.monotonic() + _STEP_S
        while time.monotonic() < deadline:
            try:
                if condition():
                    return
            except DureError:
                pass
            time.sleep(_POLL_S)
        raise TourError(f"{what}: did not happen within {_STEP_S:.0f} s")

    def phase(self, notebook: str, phases: Sequence[str]) -> bool:
        """Return whether a job of the notebook is in one of the phases."""
        return any(job.name.startswith(notebook) for job in self.client.jobs(phases=phases).jobs)


def tour(keep: Path, lang: str | None) -> int:
    """Run the tour, print its story, leave notebooks and report in `keep`; return 0 only if all of it held."""
    lang = lang or language()
    started = time.monotonic()
    keep.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, _as_interrupt)
    with tempfile.TemporaryDirectory(prefix="dure-demo-") as folder, running.told():
        state_dir = Path(folder) / "state"
        state_dir.mkdir()
        (state_dir / "platform.yaml").write_text(_PLATFORM.format(python=sys.executable))
        try:
            platform = _start(state_dir, lang)
            try:
                story = _run(platform, keep, lang)
            finally:
                platform.stop()
                running.end_attempts(state_dir)
        except (TourError, DureError) as error:
            click.echo(say(lang, "failed", error=error), err=True)
            _show_log(state_dir, keep, lang)
            return 1
        story.check(say(lang, "nothing_left"), not processes.marked(state_dir))
        story.took_s = time.monotonic() - started
        write_report(story, keep / "report.html")
        if not story.held:
            _show_log(state_dir, keep, lang)
    click.echo(story.text())
    click.echo(say(lang, "left", folder=keep, report=keep / "report.html"))
    return 0 if story.held else 1


def _start(state_dir: Path, lang: str) -> front_door.Running:
    options = running.UpOptions(state_dir=state_dir, lang=lang)
    return front_door.serve(running.front_of(options, running.platform_of(state_dir)), click.echo)


def _run(platform: front_door.Running, keep: Path, lang: str) -> Story:
    people = {}
    for name in ("alice", "bob"):
        people[name] = Person(name, platform.sign_in_link(name, admin=name == "alice"))
        click.echo(say(lang, "signed_in", name=name))
    with ThreadPoolExecutor() as pool:
        for name, ready_s in zip(people, pool.map(Person.open_workspace, people.values()), strict=True):
            click.echo(say(lang, "workspace", name=name, took=duration(ready_s, lang)))
    client = Client(Login(f"{platform.portal_url.rstrip('/')}", people["alice"].token, "environment"), lang=lang)
    parts = (*PARTS, PYTORCH) if find_spec("torch") else PARTS
    if len(parts) == len(PARTS):
        click.echo(say(lang, "no_torch"))
    at_work = Tour(platform, people, client, lang, {part.after: threading.Event() for part in parts if part.after})
    with ThreadPoolExecutor(len(parts)) as pool:
        # all kernels first: on a busy machine one takes longer to start than another's cell holds its GPU
        opened = [*pool.map(lambda part: people[part.person].open_notebook(EXAMPLES / part.notebook), parts)]
        doing = {
            part.notebook: pool.submit(_do_part, at_work, part, notebook)
            for part, notebook in zip(parts, opened, strict=True)
        }
        try:
            _direct(at_work)
        finally:
            for moment in at_work.moments.values():
                moment.set()
        done = {name: future.result() for name, future in doing.items()}
    for notebook in done.values():
        notebook.save(keep)
    at_work.wait("every GPU is free", lambda: not client.queue().running)
    story = read_story(client, lang)
    for part in parts:
        errors = done[part.notebook].errors
        detail = say(lang, "errors", errors=", ".join(errors)) if errors else say(lang, "no_errors")
        story.check(say(lang, "notebook_ends", notebook=part.notebook), tuple(errors) == part.errors, detail)
    story.check_run(killed=at_work.killed)
    return story


def _do_part(at_work: Tour, part: Part, notebook: Notebook) -> Notebook:
    if part.after:
        at_work.moments[part.after].wait(_STEP_S)
    if part.notebook == "interrupted.ipynb":
        threading.Thread(target=_stop_it, args=(at_work, notebook), daemon=True).start()
    notebook.run_all()
    return notebook


def _direct(at_work: Tour) -> None:
    """What happens around the people: gold gets taken, somebody waits, the control plane is killed."""
    at_work.wait("hold_gold runs", lambda: at_work.phase("hold_gold", ["running"]))
    at_work.moments["gold is taken"].set()
    at_work.wait("something waits while something runs", lambda: bool(at_work.client.queue().waiting))
    for process in processes.marked(at_work.platform.front.state_dir, ["control"]):
        os.kill(process.pid, signal.SIGKILL)
        at_work.killed += 1
    click.echo(say(at_work.lang, "killed", count=at_work.killed))


def _stop_it(at_work: Tour, notebook: Notebook) -> None:
    at_work.wait("the cell to stop runs", lambda: at_work.phase("interrupted", ["running"]))
    at_work.wait("the control plane is back", lambda: at_work.killed > 0 and bool(at_work.client.me().name))
    notebook.person.interrupt(notebook.kernel)
    click.echo(say(at_work.lang, "stopped", name=notebook.person.name))


def _show_log(state_dir: Path, keep: Path, lang: str) -> None:
    log = front_door.log_path(state_dir)
    if log.exists():
        (keep / "hub.log").write_bytes(log.read_bytes())
        click.echo(say(lang, "log_kept", path=keep / "hub.log"), err=True)


def _as_interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
