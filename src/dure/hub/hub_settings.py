"""What `dure up` tells the Hub: one JSON file (mode 0600), named in $DURE_HUB_CONFIG and read by
jupyterhub_config.py.

Trap: it holds secrets of this run, so it is never logged and never passed on to workspaces.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ENV = "DURE_HUB_CONFIG"


@dataclass(frozen=True, kw_only=True)
class HubSettings:
    """Everything the Hub needs. `base_url` begins and ends with "/"; `authenticator` is {} for local sign-in."""

    state_dir: str
    python: str
    address: str = "127.0.0.1"
    port: int
    hub_port: int
    proxy_port: int
    control_port: int
    base_url: str = "/"
    control_command: Sequence[str]
    control_environment: Mapping[str, str] = field(default_factory=dict)
    workspace_environment: Mapping[str, str] = field(default_factory=dict)
    service_token: str
    proxy_token: str
    cookie_secret: str
    system_users: bool = False
    authenticator: Mapping[str, Any] = field(default_factory=dict)
    teams: Mapping[str, Sequence[str]] = field(default_factory=dict)
    admins: Sequence[str] = ()


def write(settings: HubSettings, path: Path) -> None:
    """Write the file for its owner alone, in one step."""
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(settings), file, indent=1)
    temporary.replace(path)


def read(path: Path) -> HubSettings:
    """Return what `write` wrote."""
    return HubSettings(**json.loads(path.read_text(encoding="utf-8")))
