"""A control plane of a few lines, which the Hub runs in these tests: identity, live events and nothing else.

Stands for dure.api where a test is about the way there (Hub, proxy, OAuth), so that such a test fails for one reason.
"""

import asyncio
import os
import secrets
import sys
import time

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse

from dure.adapters.identity.hub import HubAccess, HubIdentity, SignInError

access = HubAccess.from_environment()
identity = HubIdentity(access, clock=time.monotonic)
app = FastAPI()
prefix = access.prefix


def principal(request):
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    bearer = token if scheme.lower() in ("bearer", "token") else None
    return identity.principal(bearer, dict(request.headers), request.client.host)


@app.get(prefix + "healthz")
def healthz():
    return PlainTextResponse("ok")


@app.get(prefix + "pid")
def pid():
    return {"pid": os.getpid()}


@app.get(prefix + "whoami")
@app.get("/whoami")
def whoami(request: Request):
    found = principal(request)
    if found is None:
        return JSONResponse({"error": "who are you?"}, 401)
    return {"name": found.name, "admin": found.admin, "teams": list(found.teams), "via": found.via}


@app.get(prefix)
def portal(request: Request):
    found = principal(request)
    if found is None:
        address, state = identity.begin_sign_in(request.url.path, secrets.token_hex(8))
        answer = RedirectResponse(address)
        answer.set_cookie(identity.state_cookie, state, max_age=600, path=prefix, httponly=True)
        return answer
    return PlainTextResponse(f"portal of {found.name} admin={found.admin} teams={','.join(found.teams)}")


@app.get(prefix + "oauth_callback")
def callback(request: Request, code: str, state: str):
    try:
        path, cookie = identity.finish_sign_in(code, state, request.cookies.get(identity.state_cookie))
    except SignInError as error:
        return PlainTextResponse(str(error), 400)
    answer = RedirectResponse(path)
    answer.set_cookie(identity.cookie, cookie, path=prefix, httponly=True)
    return answer


@app.get(prefix + "events")
def events():
    async def lines():
        for number in range(1000):
            yield f"id: {number}\ndata: tick\n\n"
            await asyncio.sleep(0.2)

    return StreamingResponse(lines(), media_type="text/event-stream")


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
