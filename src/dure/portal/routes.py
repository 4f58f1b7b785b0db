"""The portal's addresses: each one asks who calls, gathers a page's values and renders it.

Everything that changes something is a form that posts; `Portal.caller` refuses a post that another site sent. The trap:
handlers are plain functions, so FastAPI runs them in threads; only the stream is a coroutine.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.responses import JSONResponse, RedirectResponse

from dure.control import access
from dure.core.events import KINDS
from dure.portal import pages
from dure.portal.live import Watch, changes
from dure.portal.sign_in import SignInRefusedError, is_below
from dure.portal.site import PREFERENCE_S, THEME_COOKIE, THEMES, is_secure, portal_of, without_token
from dure.wire.language import LANGUAGE_COOKIE, LANGUAGES
from dure.wire.problems import CodedError

MAX_SEQ = 2**53
JobId = Annotated[str, Path(max_length=64)]
Cursor = Annotated[str | None, Query(pattern=r"^[0-9]{1,9}\.[0-9]{1,15}$")]
Text = Annotated[str, Query(max_length=200)]
Seq = Annotated[int, Query(ge=0, le=MAX_SEQ)]
_TABLE_STEP_S = 300


def router() -> APIRouter:
    """Return every address of the portal but its static files, to be included below the base path."""
    found = APIRouter()
    found.get("/")(queue)
    found.get("/parts/queue")(queue_part)
    found.get("/parts/usage")(usage)
    found.get("/parts/events")(events_part)
    found.get("/live")(live)
    found.get("/events")(events)
    found.get("/jobs/{job_id}")(job)
    found.get("/jobs/{job_id}/part")(job_part)
    found.get("/jobs/{job_id}/output")(job_output)
    found.get("/jobs/{job_id}/cancel")(ask_cancel)
    found.post("/jobs/{job_id}/cancel")(cancel)
    found.get("/jobs/{job_id}/files/{path:path}")(artifact)
    found.post("/preferences")(preferences)
    found.get("/oauth_callback")(signed_in)
    found.post("/sign-in")(enter)
    found.post("/sign-out")(sign_out)
    return found


def queue(request: Request) -> Response:
    """The first page: GPUs and the queue."""
    portal = portal_of(request)
    if portal.sign_in.asks_token and (token := request.query_params.get("token")):
        return portal.entered(request, token, without_token(request))
    principal = portal.caller(request)
    view = pages.queue_page(portal.queries, principal, portal.lang(request))
    history = portal.usage.history()
    table = _sampled(history.at, history.gpus, history.waiting, view.now)
    return portal.page(
        request, "queue.html", principal, section="queue", view=view, table=table, notices=view.platform.notices
    )


def queue_part(request: Request) -> Response:
    """The first page's live part."""
    portal = portal_of(request)
    principal = portal.caller(request)
    view = pages.queue_page(portal.queries, principal, portal.lang(request))
    return portal.page(request, "parts/queue.html", principal, view=view, here=f"{portal.base}/")


def usage(request: Request) -> Response:
    """The last hour as columns for the picture."""
    portal = portal_of(request)
    portal.caller(request)
    history = portal.usage.history()
    return JSONResponse([history.at, history.gpus, history.waiting], headers={"Cache-Control": "no-store"})


async def live(
    request: Request, after: Seq = 0, job: Annotated[str | None, Query(max_length=64)] = None, output: Cursor = None
) -> Response:
    """The stream of what changed after event `after`; `Last-Event-ID` counts more, it is newer."""
    portal = portal_of(request)
    principal = await portal.streams.read(portal.caller, request)
    last = request.headers.get("last-event-id", "")
    if last.isascii() and last.isdigit():
        after = max(after, min(int(last), MAX_SEQ))
    if job is not None:
        await portal.streams.read(portal.queries.job, principal, job, "en")  # refuses before the stream begins
    watch = Watch(after, job, output if job else None)
    source = changes(portal.streams, portal.queries, principal, watch, portal.lang(request))
    return portal.streams.answer(request, principal.name, source)


def events(request: Request, job: Text = "", kind: Text = "", user: Text = "", before: Seq = MAX_SEQ) -> Response:
    """The log, newest first, with its filters in the address."""
    return _events(request, "events.html", {"job": job, "kind": kind, "user": user}, before)


def events_part(request: Request, job: Text = "", kind: Text = "", user: Text = "", before: Seq = MAX_SEQ) -> Response:
    """The log's live part."""
    return _events(request, "parts/events.html", {"job": job, "kind": kind, "user": user}, before)


def _events(request: Request, template: str, filters: dict[str, str], before: int) -> Response:
    portal = portal_of(request)
    principal = portal.caller(request)
    seq = portal.queries.last_seq()
    view = pages.events_page(portal.queries, principal, filters, before, portal.lang(request))
    asked = urlencode({name: value for name, value in filters.items() if value})
    values: dict[str, Any] = {
        "view": view,
        "seq": seq,
        "asked": asked,
        "kinds": sorted(KINDS),
        "newest": before == MAX_SEQ,
    }
    return portal.page(request, template, principal, section="events", **values)


def job(request: Request, job_id: JobId, *, whole: bool = False) -> Response:
    """One job's page: with what is known at once, or `whole`; without it the page asks for the rest by itself."""
    return _job(request, job_id, "job.html", at_once=not whole)


def job_part(request: Request, job_id: JobId) -> Response:
    """One job's live part, all but its output."""
    return _job(request, job_id, "parts/job.html", at_once=False)


def _job(request: Request, job_id: str, template: str, *, at_once: bool) -> Response:
    portal = portal_of(request)
    principal = portal.caller(request)
    now, lang = portal.clock.now(), portal.lang(request)
    view = pages.job_page(portal.queries, principal, job_id, lang, now, at_once=at_once)
    here = f"{portal.base}/jobs/{quote(view.job.id)}"
    return portal.page(request, template, principal, section="queue", view=view, here=here)


def job_output(request: Request, job_id: JobId, begin: Cursor = None) -> Response:
    """The last part of one job's output, from a cursor on."""
    portal = portal_of(request)
    principal = portal.caller(request)
    found = pages.output_tail(portal.queries, principal, job_id, begin)
    return portal.page(request, "parts/output.html", principal, tail=found, job_id=job_id)


def ask_cancel(request: Request, job_id: JobId, back: Text = "") -> Response:
    """The page that asks whether the job shall really end."""
    portal = portal_of(request)
    principal = portal.caller(request)
    found = portal.queries.job(principal, job_id, portal.lang(request))
    access.require_acting(principal, "cancel", found.user)
    if back and not is_below(back, portal.base):
        back = f"{portal.base}/"
    return portal.page(request, "cancel.html", principal, section="queue", job=found, back=back)


def cancel(request: Request, job_id: JobId, back: Annotated[str, Form(max_length=200)] = "") -> Response:
    """Ask for the job's end. One that has ended meanwhile is shown as it is."""
    portal = portal_of(request)
    principal = portal.caller(request)
    try:
        portal.commands.cancel(principal, job_id)
    except CodedError as error:
        if error.code != "already_ended":
            raise
    return portal.back(back or f"{portal.base}/jobs/{quote(job_id)}")


def artifact(request: Request, job_id: JobId, path: Annotated[str, Path(max_length=4096)]) -> Response:
    """One file that the job left: always a download, never a page of this site."""
    portal = portal_of(request)
    principal = portal.caller(request)
    size_bytes, pieces = portal.queries.artifact(principal, job_id, path)
    headers = {
        "Content-Length": str(size_bytes),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(path.rsplit('/', 1)[-1], safe='')}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "no-store",
    }
    return StreamingResponse(pieces, media_type="application/octet-stream", headers=headers)


def preferences(
    request: Request,
    lang: Annotated[str, Form(max_length=10)] = "",
    theme: Annotated[str, Form(max_length=10)] = "",
    back: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Keep the reader's language or colours in a cookie."""
    portal = portal_of(request)
    response = portal.back(back)
    secure = is_secure(request)
    for name, value, known in ((LANGUAGE_COOKIE, lang, LANGUAGES), (THEME_COOKIE, theme, THEMES)):
        if value in known:
            response.set_cookie(
                name, value, max_age=PREFERENCE_S, path="/", httponly=True, samesite="lax", secure=secure
            )
    return response


def signed_in(request: Request) -> Response:
    """Where the Hub sends browsers back to."""
    portal = portal_of(request)
    try:
        return portal.moved(request, portal.sign_in.finish(dict(request.query_params), request.cookies))
    except SignInRefusedError as error:
        return portal.page(request, "refused.html", None, status=403, sentence=str(error))


def enter(
    request: Request, token: Annotated[str, Form(max_length=512)], back: Annotated[str, Form(max_length=2000)] = ""
) -> Response:
    """Sign in with a typed token."""
    return portal_of(request).entered(request, token.strip(), back)


def sign_out(request: Request) -> Response:
    """End the browser's session. Who is signed out already is sent the same way."""
    portal = portal_of(request)
    try:
        portal.caller(request)
    except CodedError as error:
        if error.code != "not_signed_in":
            raise
        return RedirectResponse(f"{portal.base}/", 303)
    headers = {name.lower(): value for name, value in request.headers.items()}
    return portal.moved(request, portal.sign_in.sign_out(headers))


def _sampled(at: list[int], gpus: list[float], waiting: list[int], now: float) -> list[tuple[float, float, int]]:
    """Return the last hour in steps of five minutes, newest first: (time, GPUs in use, jobs waiting)."""
    rows = []
    last = int(now) // _TABLE_STEP_S * _TABLE_STEP_S
    for when in range(last, last - 3600, -_TABLE_STEP_S):
        place = max((i for i, step in enumerate(at) if step <= when), default=0)
        rows.append((float(when), gpus[place], waiting[place]))
    return rows
