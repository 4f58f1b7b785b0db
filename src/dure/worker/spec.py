"""Reads an attempt's spec.json, the order that the executor wrote, and refuses what it cannot mean.

The trap: fields are only ever added by newer executors, so unknown ones are ignored and missing ones have a default.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

KINDS = ("cell", "command", "function")
OUTPUT_BYTES = 16 * 1024 * 1024
GRACE_S = 10.0
MAX_OUTPUTS = 16  # of the largest blobs written: the queue is told, so that what reads them comes to this node


class SpecError(Exception):
    """The attempt cannot be run as ordered; the text is one sentence for its owner."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an attempt may use. None means without limit."""

    timeout_s: float | None = None
    memory_bytes: int | None = None
    output_bytes: int = OUTPUT_BYTES
    grace_s: float = GRACE_S


@dataclass(frozen=True, slots=True)
class NodePart:
    """What an attempt over several nodes has on one of them."""

    node: str
    gpus: tuple[Mapping[str, Any], ...]
    simulated: bool


@dataclass(frozen=True, slots=True)
class AttemptSpec:
    """One attempt of a job, as ordered. `payload` depends on `kind`; `gpus` are dicts of index, uuid, share.

    A cell with `keep_s` stays that long for a next cell; from `keep_session_s` after its start it takes no more.
    `others` are the nodes besides the first. One rank's own order has all `nodes` by name instead, and rank 0's `port`.
    """

    job: str
    attempt: int
    kind: Literal["cell", "command", "function"]
    user: str = ""
    environment: str = "default"
    cluster: str = ""
    tier: str = ""
    node: str = ""
    gpus: tuple[Mapping[str, Any], ...] = ()
    simulated: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    umask: int = 0o077
    limits: Limits = field(default_factory=Limits)
    blobs: Mapping[str, Any] = field(default_factory=dict)
    notify: str | None = None
    python: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    keep_s: float = 0.0
    keep_session_s: float = 0.0
    others: tuple[NodePart, ...] = ()
    rank: int = 0
    nodes: tuple[str, ...] = ()
    port: int = 0

    def check_python(self) -> None:
        """Raise SpecError when the job was made for another minor version of Python than this one."""
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        if self.python and ".".join(self.python.split(".")[:2]) != here:
            raise SpecError(
                f"This job was sent from Python {self.python}, but the environment '{self.environment}' has Python "
                f"{here}: values pickled by one cannot be trusted in the other. Choose an environment with Python "
                f"{self.python} (`--env NAME`) or start the notebook with Python {here}."
            )


def read_spec(folder: Path) -> AttemptSpec:
    """Return the spec in `folder`; raises SpecError with one sentence when it is missing or not understood."""
    path = folder / "spec.json"
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}. Submit the job again.") from error
    except ValueError as error:
        raise SpecError(f"{path} is not valid JSON ({error}). Submit the job again.") from error
    try:
        return parse_spec(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SpecError(f"{path} is not a valid attempt: {type(error).__name__}: {error}.") from error


def parse_spec(content: Mapping[str, Any]) -> AttemptSpec:
    """Return the spec that a decoded spec.json holds; raises KeyError, TypeError or ValueError."""
    if content["kind"] not in KINDS:
        raise ValueError(f"kind {content['kind']!r} is none of {', '.join(KINDS)}")
    if content.get("others") and content["kind"] != "command":
        raise ValueError(f"a {content['kind']} runs on one node, not on several")
    limits = content.get("limits") or {}
    return AttemptSpec(
        job=str(content["job"]),
        attempt=int(content["attempt"]),
        kind=content["kind"],
        user=content.get("user") or "",
        environment=content.get("environment") or "default",
        cluster=content.get("cluster") or "",
        tier=content.get("tier") or "",
        node=content.get("node") or "",
        gpus=tuple(content.get("gpus") or ()),
        simulated=bool(content.get("simulated")),
        env={str(name): str(value) for name, value in (content.get("env") or {}).items()},
        cwd=content.get("cwd"),
        umask=int(content.get("umask") or "077", 8),
        limits=Limits(
            timeout_s=limits.get("timeout_s"),
            memory_bytes=limits.get("memory_bytes"),
            output_bytes=int(limits.get("output_bytes") or OUTPUT_BYTES),
            grace_s=float(limits.get("grace_s", GRACE_S)),
        ),
        blobs=content.get("blobs") or {},
        notify=content.get("notify"),
        python=content.get("python"),
        payload=content.get("payload") or {},
        keep_s=float(content.get("keep_s") or 0.0),
        keep_session_s=float(content.get("keep_session_s") or 0.0),
        others=tuple(
            NodePart(str(other["node"]), tuple(other["gpus"]), bool(other.get("simulated")))
            for other in content.get("others") or ()
        ),
    )
