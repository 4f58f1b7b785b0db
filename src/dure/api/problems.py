"""Turns whatever went wrong into a problem of the catalogue, and says in OpenAPI which problems an endpoint has.

The trap: a full disk may show itself deep below another error, so the whole chain of causes is looked at.
"""

from __future__ import annotations

import errno
import itertools
import json
import logging
import traceback
import zlib
from collections.abc import Iterator
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic_core import PydanticSerializationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dure.ports import (
    ExecutorUnavailableError,
    IdentityUnavailableError,
    StoreBusyError,
    StoreFullError,
    StoreUnavailableError,
    VersionConflictError,
)
from dure.wire.catalogue import CATALOGUE
from dure.wire.language import chosen_language
from dure.wire.messages import USER_AGENT
from dure.wire.problems import CodedError
from dure.wire.skew import skew

log = logging.getLogger("dure.api")
MEDIA_TYPE = "application/problem+json"
_EVERYWHERE = ("internal_error", "busy", "disk_full", "invalid_request", "malformed_json", "too_large")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_COME_AGAIN = (
    ExecutorUnavailableError,
    IdentityUnavailableError,
    StoreBusyError,
    StoreUnavailableError,
    VersionConflictError,
)
_incidents = itertools.count(1)


def problem_response(request: Request, error: CodedError) -> Response:
    """Return the problem+json response, in the language that the request asks for."""
    problem = error.problem(language_of(request))
    headers = {"Cache-Control": "no-store"}
    if error.code == "not_signed_in":
        headers["WWW-Authenticate"] = 'Bearer realm="dure"'
    if error.entry.status in {429, 503}:
        headers["Retry-After"] = "2"
    try:
        content = problem.model_dump_json(fallback=str)
    except PydanticSerializationError:  # half a surrogate pair, which a request or a job may hold
        content = json.dumps(problem.model_dump(mode="python"), default=str)
    return Response(content, problem.status, media_type=MEDIA_TYPE, headers=headers)


def coded(error: Exception, request: Request) -> CodedError:
    """Return the catalogue's problem for any exception. What nobody foresaw is logged under an incident number."""
    if isinstance(error, CodedError):
        return error
    if isinstance(error, RequestValidationError):
        return _of_validation(error, request)
    if isinstance(error, HTTPException):
        return _of_http(error, request)
    known = _of_ports(error)
    if known is not None:
        log.warning("api.refused", extra={"code": known.code, "error": str(error)})
        return known
    incident = f"e-{zlib.crc32(traceback.format_exc().encode()):08x}-{next(_incidents)}"
    log.error("api.defect", exc_info=error, extra={"incident": incident, "path": request.url.path})
    return CodedError("internal_error", incident=incident)


def language_of(request: Request) -> str:
    """Return the caller's language: `?lang=`, else what Accept-Language prefers."""
    return chosen_language(request.query_params.get("lang"), request.headers.get("accept-language", ""))


def documented(*codes: str, anyone: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's `responses` for the `codes` that an endpoint has besides those that every endpoint has."""
    every = [*codes, *_EVERYWHERE] if anyone else [*codes, *_EVERYWHERE, "not_signed_in"]
    responses: dict[int | str, dict[str, Any]] = {}
    for code in every:
        entry = CATALOGUE[code]
        told = responses.setdefault(
            entry.status,
            {
                "description": "",
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        )
        told["description"] = "; ".join(filter(None, [told["description"], f"`{code}`: {entry.title}"]))
    return responses


def _of_validation(error: RequestValidationError, request: Request) -> CodedError:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return CodedError("malformed_json", problem=str(first.get("ctx", {}).get("error", first["msg"])))
    problems = []
    for found in error.errors()[:5]:
        where = ".".join(str(part) for part in found["loc"])
        problems.append(f"{where}: {found['msg']}")
    told = "; ".join(problems)
    ours = request.headers.get("user-agent") == USER_AGENT
    return CodedError((ours and skew(told)) or "invalid_request", problem=told)


def _of_http(error: HTTPException, request: Request) -> CodedError:
    if error.status_code == 404:
        return CodedError("not_found", path=request.url.path)
    if error.status_code == 405:
        return CodedError("method_not_allowed", method=request.method, path=request.url.path)
    return CodedError("malformed_json", problem=str(error.detail))


def _of_ports(error: Exception) -> CodedError | None:
    for cause in _causes(error):
        if isinstance(cause, StoreFullError):
            return CodedError("disk_full", where="the database's folder")
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return CodedError("disk_full", where=str(cause.filename or "the platform's folder"))
        if isinstance(cause, _COME_AGAIN):
            return CodedError("busy")
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__
