"""A person at their browser, without the browser: signs in at the Hub, opens the workspace, runs notebooks in kernels.

Everything goes through the public address, as JupyterLab's own requests do. The trap: a kernel's messages end with
`idle` for the cell's own request only, so replies to other requests are skipped.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

_READY_S = 120.0
_CELL_S = 150.0
_KERNEL_START_S = 40.0
_KERNEL_TRIES = 3
_POLL_S = 0.1
_MESSAGE_BYTES = 64 * 1024 * 1024


class TourError(Exception):
    """The tour could not go on; the text says at which step."""


class Person:
    """Somebody who is signed in. Their token opens workspace and API alike."""

    def __init__(self, name: str, link: str) -> None:
        self.name = name
        self.url = link.split("hub/link", maxsplit=1)[0]
        self._http = httpx.Client(base_url=self.url, timeout=60, follow_redirects=True, trust_env=False)
        self.token = self._sign_in(link)
        self._http.headers["Authorization"] = f"token {self.token}"
        self._http.cookies.clear()

    def open_workspace(self) -> float:
        """Start the person's JupyterLab and return after how many seconds it was ready."""
        started = time.monotonic()
        self._need(self._http.post(f"hub/api/users/{self.name}/server"), "start the workspace")
        while not self._server().get("ready"):
            if time.monotonic() - started > _READY_S:
                raise TourError(f"{self.name}'s workspace was not ready within {_READY_S:.0f} s")
            time.sleep(_POLL_S)
        return time.monotonic() - started

    def open_notebook(self, path: Path) -> Notebook:
        """Put a notebook into the workspace and open it with a kernel of its own."""
        content = json.loads(path.read_text())
        model = {"type": "notebook", "format": "json", "content": content}
        self._need(self._http.put(f"user/{self.name}/api/contents/{path.name}", json=model), f"save {path.name}")
        session = {"path": path.name, "type": "notebook", "name": path.name, "kernel": {"name": "python3"}}
        for _ in range(_KERNEL_TRIES):
            answer = self._need(self._http.post(f"user/{self.name}/api/sessions", json=session), f"open {path.name}")
            notebook = Notebook(self, path.name, content, answer.json()["kernel"]["id"])
            if notebook.answers():
                return notebook
            # A kernel picks its ports before it binds them, so another program may come first; people open it again.
            self._http.delete(f"user/{self.name}/api/sessions/{answer.json()['id']}")
        raise TourError(f"no kernel of {self.name} answered for {path.name}")

    def interrupt(self, kernel: str) -> None:
        """Press ■."""
        self._need(self._http.post(f"user/{self.name}/api/kernels/{kernel}/interrupt"), "interrupt the kernel")

    def _sign_in(self, link: str) -> str:
        page = self._http.get(link)
        found = re.search(r'name="token" value="([^"]+)"', page.text)
        if found is None:
            raise TourError(f"the sign-in link of {self.name} was not taken")
        self._need(self._http.post("hub/link", data={"_xsrf": self._xsrf(), "token": found[1]}), "sign in")
        self._http.get("hub/home")
        headers = {"X-XSRFToken": self._xsrf(), "Referer": f"{self.url}hub/home"}
        body = {"note": "dure demo", "expires_in": 3600}
        answer = self._http.post(f"hub/api/users/{self.name}/tokens", json=body, headers=headers)
        return str(self._need(answer, "get a token").json()["token"])

    def _xsrf(self) -> str:
        return next(str(c.value) for c in self._http.cookies.jar if c.name == "_xsrf" and c.path == "/hub/")

    def _server(self) -> Mapping[str, Any]:
        about = self._need(self._http.get(f"hub/api/users/{self.name}"), "ask for the workspace").json()
        server: Mapping[str, Any] = about["servers"].get("", {})
        return server

    def _need(self, answer: httpx.Response, what: str) -> httpx.Response:
        if answer.status_code >= httpx.codes.BAD_REQUEST:
            raise TourError(f"{self.name} could not {what}: {answer.status_code} {answer.text[:300]}")
        return answer


@dataclass
class Notebook:
    """An open notebook with a running kernel."""

    person: Person
    name: str
    content: dict[str, Any]
    kernel: str
    errors: list[str] = field(default_factory=list)

    def answers(self) -> bool:
        """Return whether the kernel runs an empty cell within the time that a start may take."""
        try:
            with self._connect() as socket:
                Outputs(socket.recv, _KERNEL_START_S).of(socket.send, "")
        except (TimeoutError, TourError, WebSocketException):
            return False
        return True

    def run_all(self) -> None:
        """Run every code cell in order and keep what it shows in the notebook; errors are collected."""
        with self._connect() as socket:
            count = 0
            for cell in self.content["cells"]:
                if cell["cell_type"] != "code":
                    continue
                count += 1
                cell["execution_count"] = count
                cell["outputs"] = Outputs(socket.recv).of(socket.send, "".join(cell["source"]))
                self.errors += [output["ename"] for output in cell["outputs"] if output["output_type"] == "error"]

    def _connect(self) -> ClientConnection:
        root = f"{self.person.url.replace('http', 'ws', 1)}user/{self.person.name}"
        headers = {"Authorization": f"token {self.person.token}"}
        address = f"{root}/api/kernels/{self.kernel}/channels"
        return connect(address, additional_headers=headers, max_size=_MESSAGE_BYTES, open_timeout=_KERNEL_START_S)

    def save(self, folder: Path) -> None:
        """Write the executed notebook."""
        (folder / self.name).write_text(json.dumps(self.content, indent=1, ensure_ascii=False) + "\n")


def execute_request(code: str) -> tuple[str, str]:
    """Return Jupyter's request to run `code` as a kernel's websocket takes it: its id, which replies name, its text."""
    message = uuid.uuid4().hex
    header = {"msg_id": message, "username": "", "session": message, "msg_type": "execute_request", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    request = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    return message, json.dumps(request | {"buffers": []})


class Outputs:
    """Collects a cell's messages into nbformat outputs, as JupyterLab does."""

    def __init__(self, receive: Callable[..., Any], timeout_s: float = _CELL_S) -> None:
        self._receive = receive
        self._timeout_s = timeout_s
        self._outputs: list[dict[str, Any]] = []
        self._displays: dict[str, list[dict[str, Any]]] = {}

    def of(self, send: Callable[[str], None], code: str) -> list[dict[str, Any]]:
        """Run `code` and return its outputs when the kernel is idle again."""
        message, request = execute_request(code)
        send(request)
        deadline = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline:
            reply = json.loads(self._receive(timeout=self._timeout_s))
            if reply["parent_header"].get("msg_id") != message:
                continue
            if reply["msg_type"] == "status" and reply["content"]["execution_state"] == "idle":
                return self._outputs
            self._take(reply["msg_type"], reply["content"])
        raise TourError(f"a cell was not done within {self._timeout_s:.0f} s: {code[:60]!r}")

    def _take(self, kind: str, content: Mapping[str, Any]) -> None:
        if kind == "stream":
            self._stream(content["name"], content["text"])
        elif kind in {"display_data", "execute_result"}:
            output = {"output_type": kind, "data": content["data"], "metadata": content["metadata"]}
            if kind == "execute_result":
                output["execution_count"] = content["execution_count"]
            self._outputs.append(output)
            shown = content.get("transient", {}).get("display_id")
            if shown:
                self._displays.setdefault(shown, []).append(output)
        elif kind == "update_display_data":
            for output in self._displays.get(content["transient"]["display_id"], ()):
                output |= {"data": content["data"], "metadata": content["metadata"]}
        elif kind == "error":
            self._outputs.append({"output_type": "error"} | {k: content[k] for k in ("ename", "evalue", "traceback")})
        elif kind == "clear_output":
            self._outputs.clear()

    def _stream(self, name: str, text: str) -> None:
        last = self._outputs[-1] if self._outputs else {}
        if last.get("output_type") == "stream" and last["name"] == name:
            last["text"] = settled(last["text"] + text)
        else:
            self._outputs.append({"output_type": "stream", "name": name, "text": settled(text)})


def settled(text: str) -> str:
    """Return text as a screen shows it: what follows a carriage return overwrites the line."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] if "\r" in line.rstrip("\r") else line for line in lines)
