"""Adds the portal to the application: pages, fragments, the stream, static files, sign-in.

The trap: the address in the browser begins with JupyterHub's prefix, and a page must work there and at `/`; templates
get `base` and write every address with it.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI

from dure.portal import allowance_routes, routes, session_routes
from dure.portal.sign_in import SignIn
from dure.portal.site import Assets, Portal
from dure.portal.usage import Usage
from dure.portal.wording import environment
from dure.ports import Clock, Store
from dure.wire.language import LANGUAGES

STATIC = Path(__file__).parent / "static"


def mount(app: FastAPI, *, sign_in: SignIn, store: Store, clock: Clock) -> None:
    """Add the portal below `app.state.base_path`; for `create_app`: `partial(mount, sign_in=…, store=…, clock=…)`.

    Sets `app.state.portal`, `.session` and `.error_page`. `store` is read for the sums of the last hour only.
    """
    templates = {lang: environment(lang) for lang in LANGUAGES}
    portal = Portal(app, sign_in, Usage(store, clock), clock, templates)
    app.state.portal = portal
    app.state.session = portal.session
    app.state.error_page = portal.error_page
    for found in (routes.router(), session_routes.router(), allowance_routes.router()):
        app.include_router(found, prefix=portal.base, include_in_schema=False)
    app.mount(f"{portal.base}/static", Assets(directory=STATIC), name="static")
