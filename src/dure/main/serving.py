"""Makes the one web application of a control plane: REST API and streams, and the portal's pages on top."""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path

from fastapi import FastAPI

import dure
from dure.adapters.identity.hub import HubIdentity, HubUnavailableError, SignInError
from dure.api.app import create_app
from dure.main.compose import Composition
from dure.main.private_file import write_once
from dure.portal import app as portal
from dure.portal.sign_in import HubSignIn, SignIn, TokenSignIn


def application(parts: Composition) -> FastAPI:
    """Return the application, below the base path that the settings give."""
    return create_app(
        parts.commands,
        parts.queries,
        parts.ports.identity,
        parts.stream_hints,
        parts.sessions,
        base_path=parts.settings.base_path,
        version=dure.__version__,
        portal_mount=partial(portal.mount, sign_in=_sign_in(parts), store=parts.store, clock=parts.ports.clock),
    )


def _sign_in(parts: Composition) -> SignIn:
    identity = parts.ports.identity
    if isinstance(identity, HubIdentity):
        return HubSignIn(identity, lambda: secrets.token_urlsafe(16), (SignInError, HubUnavailableError))
    return TokenSignIn(identity, _cookie_secret(parts.settings.state_dir), parts.settings.base_path)


def _cookie_secret(state_dir: Path) -> str:
    """The key that signs session cookies; kept, so that sign-ins survive a restart."""
    return write_once(state_dir / "portal.key", secrets.token_hex(32))
