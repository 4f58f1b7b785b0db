"""A browser without a screen for these tests: signs in at the Hub, starts a workspace, runs code in its kernels."""

import json
import re
import time

import httpx
import websocket

from dure.main.tour.workspace import execute_request
from tests.browsers import PATIENCE_S


def wait_for(condition, what):
    """Return the condition's first true value; fail with `what` when it does not come."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not happen within {PATIENCE_S} s"
        time.sleep(0.1)


class HubBrowser:
    """Keeps cookies as a browser does; follows redirects only where a method says so."""

    def __init__(self, url):
        self.url = url
        self.token = ""
        self.http = httpx.Client(timeout=PATIENCE_S, follow_redirects=True, trust_env=False, base_url=url)

    def close(self):
        self.http.close()

    def xsrf(self, path="/hub/"):
        return next(c.value for c in self.http.cookies.jar if c.name == "_xsrf" and c.path == path)

    def open_link(self, link):
        """Open a one-time link and send the form that its page sends by itself; return the last answer."""
        page = self.http.get(link)
        found = re.search(r'name="token" value="([^"]+)"', page.text)
        if found is None:
            return page
        return self.http.post("hub/link", data={"_xsrf": self.xsrf(), "token": found[1]})

    def login(self, user, password):
        self.http.get("hub/login")
        form = {"_xsrf": self.xsrf(), "username": user, "password": password}
        return self.http.post("hub/login", data=form)

    def set_password(self, password):
        self.http.get("hub/password")
        form = {"_xsrf": self.xsrf(), "password": password, "again": password}
        return self.http.post("hub/password", data=form)

    def hub_api(self, method, path, **kwargs):
        headers = {"X-XSRFToken": self.xsrf(), "Referer": f"{self.url}hub/home"}
        return self.http.request(method, f"hub/api/{path}", headers=headers, **kwargs)

    def start_workspace(self, user):
        """Start the user's JupyterLab, wait until it is ready, open it; return its last page."""
        self.http.get("hub/home")
        answer = self.hub_api("POST", f"users/{user}/server")
        assert answer.status_code in (201, 202), answer.text
        wait_for(lambda: self.server(user).get("ready"), f"{user}'s workspace")
        return self.http.get(f"user/{user}/lab")

    def server(self, user):
        return self.hub_api("GET", f"users/{user}").json()["servers"].get("", {})

    def stop_workspace(self, user):
        answer = self.hub_api("DELETE", f"users/{user}/server")
        assert answer.status_code in (202, 204), answer.text
        wait_for(lambda: not self.server(user), f"the end of {user}'s workspace")

    def kernel(self, user, subprotocol=None):
        return Kernel(self, user, subprotocol)

    def begin(self, user, what, **wanted):
        """Begin a kernel or a terminal in a workspace; return what the server says of it."""
        headers = {"X-XSRFToken": self.xsrf(f"/user/{user}/"), "Referer": f"{self.url}user/{user}/lab"}
        answer = self.http.post(f"user/{user}/api/{what}", json=wanted, headers=headers)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def socket(self, user, path, subprotocol=None):
        """Open a websocket of a workspace."""
        cookies = "; ".join(f"{c.name}={c.value}" for c in self.http.cookies.jar if f"/user/{user}/".startswith(c.path))
        return websocket.create_connection(
            f"{self.url.replace('http', 'ws')}user/{user}/{path}",
            header=[f"Cookie: {cookies}"],
            subprotocols=[subprotocol] if subprotocol else None,
            timeout=PATIENCE_S,
        )

    def type_in_terminal(self, user, line, until):
        """Type a line in a new terminal of the workspace; return what is on it once `until` is."""
        socket = self.socket(user, f"terminals/websocket/{self.begin(user, 'terminals')['name']}")
        socket.send(json.dumps(["stdin", f"{line}\r"]))
        shown = ""
        while until not in shown:
            kind, *said = json.loads(socket.recv())
            shown += said[0] if kind == "stdout" else ""
        socket.close()
        return shown


class Kernel:
    """One kernel of a workspace, over the same websocket that JupyterLab opens."""

    def __init__(self, browser, user, subprotocol=None):
        self.browser, self.user = browser, user
        self.id = browser.begin(user, "kernels", name="python3")["id"]
        self.connect(subprotocol)

    def connect(self, subprotocol=None):
        self.socket = self.browser.socket(self.user, f"api/kernels/{self.id}/channels", subprotocol)

    def replies(self, code):
        """Run a cell; yield the type and content of what comes, until the kernel is idle again."""
        message, request = execute_request(code)
        self.socket.send(request)
        while True:
            reply = json.loads(self.socket.recv())
            if reply["parent_header"].get("msg_id") != message:
                continue
            kind, content = reply["msg_type"], reply["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return
            yield kind, content

    def run(self, code):
        """Run a cell; return (what it wrote to stdout, to stderr, and its error's name or None)."""
        out, err, error = "", "", None
        for kind, content in self.replies(code):
            if kind == "stream" and content["name"] == "stdout":
                out += content["text"]
            elif kind == "stream":
                err += content["text"]
            elif kind == "error":
                error = content["ename"]
        return out.strip(), err.strip(), error

    def close(self):
        self.socket.close()
