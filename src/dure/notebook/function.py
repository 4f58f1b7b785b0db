"""`@dure.gpu`: a function whose calls run on a GPU and return, or raise, as if they had run here.

In notebooks, scripts and modules. A function of the notebook or script goes by value, with the globals that it reads;
one of a module goes by name. The trap: inside a job the function is called directly, a job never queues another by it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from dure.notebook import context
from dure.notebook.ending import failure_of, left_behind
from dure.notebook.failures import QuietError, shown_as, told_plainly
from dure.notebook.handle import RemoteJob
from dure.notebook.line import StatusLine
from dure.notebook.replay import Replay
from dure.notebook.sending import capture_names
from dure.notebook.sources import sources_of
from dure.notebook.watching import Follower, Outcome, Watch
from dure.notebook.words import say
from dure.wire.cells import CALL, EXCEPTION, RESULT

if TYPE_CHECKING:
    from dure.client import Client
    from dure.client.options import JobOptions
    from dure.state import Snapshot
    from dure.wire.messages import JobRequest, JobView

_SUBMITTERS = 8
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@told_plainly
def gpu(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make `function` run on a GPU. Options as of `%%gpu`, by name: `@dure.gpu(tier="gold", gpus=2, timeout="1h")`.

    `f(x)` waits and returns the result, `f.submit(x)` returns a handle, `f.map(xs)` a list of results in order.
    Raises DureError at once for an option that does not exist or has an impossible value.
    """
    from dure.client.options import OF_FUNCTIONS, parse_values

    parsed = parse_values(options, now=time.time(), lang=context.language(), names=OF_FUNCTIONS)
    if function is None:
        return lambda decorated: GpuFunction(decorated, options, parsed)
    return GpuFunction(function, options, parsed)


class GpuFunction:
    """What the decorator makes of a function. `__wrapped__` is the function itself, for a call right here."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any], parsed: JobOptions | None = None) -> None:
        if not callable(function):
            raise TypeError(say("not_callable"))
        functools.update_wrapper(self, function)
        self.__wrapped__: Callable[..., Any] = function
        self._options = options
        self._parsed = parsed
        self._told_lacking = False

    @told_plainly
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function on a GPU and return its result; raises what it raised."""
        if "DURE_JOB" in os.environ:
            return self.__wrapped__(*args, **kwargs)
        client, request = self._request(args, kwargs)
        line = StatusLine(None)
        follower = Follower(client, lambda: client.submit(request, uuid.uuid4().hex))
        outcome = Watch(follower, line, Replay(_shell(), line)).run()
        if outcome.left:
            raise left_behind(outcome) from None
        if outcome.problem is not None or outcome.job is None:
            raise outcome.problem or QuietError(say("left_submitting"))
        return _value(client, outcome, outcome.job)

    @told_plainly
    def submit(self, *args: Any, **kwargs: Any) -> FunctionJob:
        """Queue the call and return its handle at once."""
        client, request = self._request(args, kwargs)
        return FunctionJob(client.submit(request, uuid.uuid4().hex))

    @told_plainly
    def map(self, *iterables: Iterable[Any]) -> list[Any]:
        """Queue one call per item, all together; return the results in order. A failure cancels the rest."""
        calls = [self._request(args, {}) for args in zip(*iterables, strict=False)]
        if not calls:
            return []
        with ThreadPoolExecutor(min(_SUBMITTERS, len(calls)), thread_name_prefix="dure-map") as pool:
            queued = [pool.submit(client.submit, request, uuid.uuid4().hex) for client, request in calls]
            jobs = [FunctionJob(future.result()) for future in queued]
        results: list[Any] = []
        try:
            for job in jobs:
                results.append(job.result())  # noqa: PERF401 -- how many there are is needed when one fails
        except BaseException:
            with ThreadPoolExecutor(_SUBMITTERS, thread_name_prefix="dure-map") as pool:
                for job in jobs[len(results) :]:
                    pool.submit(job.cancel)
            raise
        return results

    def __reduce__(self) -> tuple[Any, ...]:
        return GpuFunction, (self.__wrapped__, self._options)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._options.items())
        return f"<dure.gpu({options}) {getattr(self, '__qualname__', self.__wrapped__)}>"

    def _request(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Client, JobRequest]:
        from dure.client.options import OF_FUNCTIONS, job_request, parse_values
        from dure.wire.messages import MAX_INPUTS

        lang = context.language()
        parsed = self._parsed or parse_values(self._options, now=time.time(), lang=lang, names=OF_FUNCTIONS)
        client = context.client()
        name = getattr(self.__wrapped__, "__qualname__", repr(self.__wrapped__))
        namespace, beside = self._namespace()
        call = self.__wrapped__, args, kwargs
        digest, references, snapshot = self._captured(client, parsed.team, namespace, beside, call)
        payload = {
            "call": digest,
            "beside": sorted(beside),
            "kernel_cwd": os.getcwd(),  # noqa: PTH109 -- a text for JSON
            "sources": sources_of(_shell(), [self.__wrapped__, *namespace.values()]),
        }
        request = job_request(
            parsed,
            kind="function",
            name=name,
            payload=payload,
            references=references,
            inputs=snapshot.largest(MAX_INPUTS) if snapshot is not None else None,
            python=context.python_minor(),
            lang=lang,
        )
        return client, request

    def _namespace(self) -> tuple[dict[str, Any], frozenset[str]]:
        """Return the globals that travel with a function of the notebook or script; none for one of a module.

        Where its code looks names up as no reading foresees (globals(), eval), all go; those that may stay behind, with
        a note, are named beside.
        """
        function = self.__wrapped__
        if getattr(function, "__module__", None) != "__main__":
            return {}, frozenset()
        from dure.notebook.reads import function_reads
        from dure.state.secrecy import hidden, read_environment, secret_reason

        live = getattr(function, "__globals__", None) or vars(sys.modules["__main__"])
        found = function_reads(function, live)
        reads = {name: live[name] for name in found.reads if name in live}
        if not found.dynamic:
            return reads, frozenset()
        more = {name: value for name, value in list(live.items()) if name not in reads and not hidden(name, value)}
        read_environment()
        kept = {name: value for name, value in more.items() if not secret_reason(name, value)}
        return {**reads, **kept}, frozenset(more)

    def _captured(
        self,
        client: Client,
        team: str | None,
        namespace: dict[str, Any],
        beside: frozenset[str],
        call: tuple[Any, ...],
    ) -> tuple[str | None, list[str], Snapshot | None]:
        try:
            names = [CALL, *namespace]
            captured = capture_names(
                {**namespace, CALL: call}, names, client.blobs(team), "unpicklable_call", may_lack=beside
            )
        except QuietError as error:
            sentence = self._by_parameter(str(error))
        else:
            lacking = sorted(beside - set(captured[2].names if captured[2] is not None else ()))
            if lacking and not self._told_lacking:
                self._told_lacking = True
                print(say("function_lacks", names=", ".join(lacking)), file=sys.stderr)  # noqa: T201
            return captured
        raise QuietError(sentence)

    def _by_parameter(self, sentence: str) -> str:
        """Return what is said of a call with the names of the function and of its parameters in place of places."""
        import inspect

        parameters: list[inspect.Parameter] = []
        with contextlib.suppress(TypeError, ValueError):  # compiled code may not tell
            parameters = list(inspect.signature(self.__wrapped__).parameters.values())
        names = [each.name for each in parameters if each.kind <= inspect.Parameter.POSITIONAL_OR_KEYWORD]
        sentence = re.sub(
            rf"{CALL}\[1\]\[(\d+)\]",
            lambda found: dict(enumerate(names)).get(int(found[1]), f"args[{found[1]}]"),
            sentence,
        )
        sentence = re.sub(rf"{CALL}\[2\]\['(\w+)'\]", r"\1", sentence)
        return re.sub(rf"{CALL}(\[0\])?", getattr(self, "__qualname__", "the function"), sentence)


class FunctionJob(RemoteJob):
    """A queued call. `.result(timeout_s)` waits for its value, `.exception()` for what it raised."""

    @told_plainly
    def result(self, timeout_s: float | None = None) -> Any:
        """Return the function's result; raises what it raised, TimeoutError after `timeout_s` seconds."""
        outcome = self._outcome(timeout_s)
        return _value(self._client, outcome, self._job)

    def exception(self, timeout_s: float | None = None) -> BaseException | None:
        """Return what the function raised, None when it returned."""
        try:
            self.result(timeout_s)
        except TimeoutError:
            if not self.done():
                raise
            return None
        except Exception as error:
            return error
        return None


def _value(client: Client, outcome: Outcome, job: JobView) -> Any:
    end = outcome.end or job.result or {}
    values, reason = _load(client, job, end)
    if job.phase == "succeeded":
        if RESULT not in values:
            raise QuietError(say("no_result", job=job.id, reason=reason))
        return values[RESULT]
    shown = failure_of(outcome, job, end)
    raised = values.get(EXCEPTION)
    if isinstance(raised, BaseException):
        lines = list((outcome.error or {}).get("traceback") or ())
        raised.add_note(f"Raised by {job.id} on the worker:\n" + _ANSI.sub("", "\n".join(lines)))
        raise shown_as(raised, lines)
    raise shown


def _load(client: Client, job: JobView, end: dict[str, Any]) -> tuple[dict[str, Any], str]:
    from dure.state import BlobError, ManifestError, Snapshot, restore

    if not end.get("snapshot"):
        return {}, "it left none"
    try:
        blobs = client.blobs(job.team)
        into = vars(sys.modules["__main__"])
        report = restore(Snapshot.load(end["snapshot"], blobs), blobs, into=into, commit=False)
    except (BlobError, ManifestError) as error:
        return {}, str(error)
    return dict(report.values), "; ".join(report.failed.values())


def _shell() -> Any:
    """Return the IPython shell of a notebook, None in a script."""
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    return get_ipython()
