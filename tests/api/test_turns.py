"""One person's requests take turns, so that another's does not wait for all of them."""

import asyncio

from dure.api.limits import MAX_IN_LINE, PARALLEL, Turns


class Slow:
    """An application whose answers begin when they are let go, and then go on."""

    def __init__(self):
        self.gates = {}
        self.inside = []

    async def __call__(self, scope, _receive, send):
        path = scope["path"]
        self.inside.append(path)
        await self.gates.setdefault(path, asyncio.Event()).wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await self.gates.setdefault(f"end {path}", asyncio.Event()).wait()
        await send({"type": "http.response.body", "body": b""})


def ask(turns, path, *headers):
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": list(headers)}
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    task = asyncio.ensure_future(turns({**scope, "client": ("127.0.0.1", 1)}, receive, send))
    return task, sent


async def settled():
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_loop_of_one_person_leaves_the_others_their_turn():
    app = Slow()
    turns = Turns(app)
    loop = (b"authorization", b"Bearer loop")
    asked = [ask(turns, f"/{number}", loop) for number in range(PARALLEL + MAX_IN_LINE)]
    await settled()
    assert len(app.inside) == PARALLEL
    _, other = ask(turns, "/other", (b"authorization", b"Bearer other"))
    ask(turns, "/browser", (b"cookie", b"a=b"))
    await settled()
    assert app.inside[PARALLEL:] == ["/other", "/browser"]
    refused, sent = ask(turns, "/more", loop)
    await refused
    assert sent[0]["status"] == 503
    app.gates["/0"].set()  # its answer begins and goes on, as a stream does: the next has its turn
    await settled()
    assert len(app.inside) == PARALLEL + 3
    assert other == []
    for task, _ in asked:
        task.cancel()
    await asyncio.gather(*(task for task, _ in asked), return_exceptions=True)
    await settled()
    for number in range(PARALLEL):
        ask(turns, f"/again {number}", loop)
    await settled()
    assert app.inside[-1] == f"/again {PARALLEL - 1}"
