"""What goes over HTTP about sessions, and the document that describes one version.

The document lies among the team's blobs, not in the control plane. The trap: it comes from a person's kernel, so
whoever reads it takes every part of it for a claim.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dure.wire.messages import Digest, View, Wire

MAX_BYTES = 2**50
MAX_SHARES = 200
MAX_SOURCE = 20_000  # letters of a cell that a document quotes
MAX_NAMES = 100_000

SessionName = Annotated[str, Field(min_length=1, max_length=1024)]
Person = Annotated[str, Field(pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9._@-]{0,62})$")]
Count = Annotated[int, Field(ge=0, le=2**31)]
Bytes = Annotated[int, Field(ge=0, le=MAX_BYTES)]


class SaveRequest(Wire):
    """A new version of the caller's session `name`; `number` follows `parent`, the newest that the kernel knows.

    `session` is its id where the kernel knows it: it may have another name by now.
    """

    name: SessionName
    session: Annotated[str, Field(max_length=64)] | None = None
    team: str | None = None
    parent: Count
    kernel: Annotated[str, Field(min_length=1, max_length=200)]
    document: Digest
    cell: Count = 0
    size_bytes: Bytes = 0
    new_bytes: Bytes = 0
    variables: Count = 0
    unsaved: Count = 0
    python: Annotated[str, Field(max_length=40)] = ""
    label: Annotated[str, Field(max_length=200)] = ""
    origin: Count | None = None
    changed: Annotated[str, Field(max_length=200)] = ""


class ShareRequest(Wire):
    """Who may read the session from now on, in place of who might before; `*` is the whole team."""

    people: Annotated[list[Person], Field(max_length=MAX_SHARES)]


class RenameRequest(Wire):
    """The caller's notebook or folder `before` is now `after`, or is deleted (None): its sessions follow it."""

    before: SessionName
    after: SessionName | None = None


class LabelRequest(Wire):
    """What a version is called from now on, in place of what it was called before."""

    label: Annotated[str, Field(min_length=1, max_length=200)]


class RestoredRequest(Wire):
    """Which version was brought back, and how much of it."""

    number: Count
    restored: Count
    lost: Count = 0


class SessionPolicyView(View):
    """What the platform file says of sessions."""

    save: bool
    ttl_days: float
    quota_bytes: int


class SessionView(View):
    """A session. `readable` tells whether the caller may see what it holds; administrators see sizes only."""

    id: str
    user: str
    team: str
    name: str
    newest: int
    versions: int
    created_at: float
    saved_at: float
    used_at: float
    expires_at: float
    size_bytes: int
    held_bytes: int
    shared: list[str] = Field(default_factory=list)
    readable: bool = False


class VersionView(View):
    """A version. `document` is None, and `label` and `changed` say nothing, for whom its contents are not."""

    number: int
    parent: int
    at: float
    kernel: str
    cell: int
    size_bytes: int
    new_bytes: int
    variables: int
    unsaved: int
    python: str = ""
    label: str = ""
    origin: int | None = None
    document: str | None = None
    changed: str = ""


class SessionList(View):
    """Sessions, the latest used first, how many more there are, what is allowed, and what the caller's own hold."""

    sessions: list[SessionView]
    more: int = 0
    policy: SessionPolicyView
    held_bytes: int = 0


class SessionDetail(View):
    """A session and its versions, newest first."""

    session: SessionView
    versions: list[VersionView]


class SavedView(View):
    """The version as it is kept, how many older ones went to make room, and what the session is called now."""

    session: str
    team: str
    number: int
    dropped: int = 0
    name: str = ""


class VariableView(View):
    """A variable of a version: type, size, the cell that made it; `lost` tells why it could not be saved."""

    name: str
    type: str = ""
    size_bytes: int = 0
    cell: int | None = None
    lost: str | None = None


class ContentView(View):
    """What a version holds, as its manifest says it; no value is ever read here."""

    session: str
    number: int
    variables: list[VariableView]


class DiffView(View):
    """Names that came, went and differ between two versions of one session."""

    session: str
    before: int
    after: int
    added: list[str]
    removed: list[str]
    changed: list[str]


class SessionDocument(View):
    """What a version's blob says: the snapshot, and which cell bound a name last.

    Random states, folder and `In` are extras of the snapshot. `sources` are the cells whose names could not be saved.
    """

    format: Literal["dure.session"] = "dure.session"
    version: Literal[1] = 1
    snapshot: Digest
    cell: Count = 0
    made: Annotated[dict[str, int], Field(max_length=MAX_NAMES)] = Field(default_factory=dict)
    sources: Annotated[dict[int, str], Field(max_length=MAX_NAMES)] = Field(default_factory=dict)
