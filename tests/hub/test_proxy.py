"""The proxy by itself: streams, websockets, headers and failures, with a real server behind it and many clients."""

import asyncio
import contextlib
import gzip
import io
import os
import socket
import sys

import aiohttp
import pytest
from aiohttp import web

from dure.adapters.processes import free_port

PROTOCOL = "v1.kernel.websocket.jupyter.org"
TOKEN = "proxy-test-token"


class Target:
    """What stands behind the proxy."""

    def __init__(self):
        self.url = ""
        self.streams = 0
        self.hung_up = asyncio.Event()

    async def echo(self, request):
        return web.json_response(
            {"path": request.raw_path, "headers": {k.lower(): v for k, v in request.headers.items()}}
        )

    async def cookies(self, request):
        answer = web.Response(text="two")
        answer.set_cookie("a", "1")
        answer.set_cookie("b", "2")
        return answer

    async def zipped(self, request):
        return web.Response(body=gzip.compress(b"text" * 100), headers={"Content-Encoding": "gzip", "ETag": '"x"'})

    async def nothing(self, request):
        return web.Response(status=304 if request.method == "GET" else 204)

    async def upload(self, request):
        return web.json_response({"bytes": len(await request.read())})

    async def begun(self, request):
        first = len(await request.content.readany())
        self.hung_up.set()
        return web.json_response({"bytes": first + len(await request.read())})

    async def too_large(self, request):
        return web.Response(status=413, text="no")

    async def live(self, request):
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        self.streams += 1
        try:
            for number in range(10_000):
                await answer.write(f"data: {number}\n\n".encode())
                await asyncio.sleep(0.02)
        finally:
            self.streams -= 1
            self.hung_up.set()
        return answer

    async def cut(self, request):
        answer = web.StreamResponse(headers={"Content-Length": "1000"})
        await answer.prepare(request)
        await answer.write(b"half")
        request.transport.abort()
        return answer

    async def socket(self, request):
        channel = web.WebSocketResponse(protocols=(PROTOCOL,), max_msg_size=0)
        await channel.prepare(request)
        async for message in channel:
            if message.data == "bye":
                await channel.close(code=4001)
            elif message.type is aiohttp.WSMsgType.BINARY:
                await channel.send_bytes(message.data)
            else:
                await channel.send_str(message.data)
        self.hung_up.set()
        return channel


@pytest.fixture
async def target():
    behind = Target()
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/echo{rest:.*}", behind.echo)
    app.router.add_get("/cookies", behind.cookies)
    app.router.add_get("/zipped", behind.zipped)
    app.router.add_route("*", "/nothing", behind.nothing)
    app.router.add_post("/upload", behind.upload)
    app.router.add_route("*", "/begun", behind.begun)
    app.router.add_put("/too-large", behind.too_large)
    app.router.add_get("/live", behind.live)
    app.router.add_get("/cut", behind.cut)
    app.router.add_get("/socket", behind.socket)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    behind.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield behind
    await runner.cleanup()


@pytest.fixture
async def client():
    async with aiohttp.ClientSession(auto_decompress=False, connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


@pytest.fixture
async def proxy(target, client):
    port, api = free_port(), free_port()
    argv = [sys.executable, "-m", "dure.hub.proxy", "--port", str(port), "--api-port", str(api)]
    child = await asyncio.create_subprocess_exec(*argv, env=os.environ | {"CONFIGPROXY_AUTH_TOKEN": TOKEN})
    routes = f"http://127.0.0.1:{api}/api/routes"
    headers = {"Authorization": f"token {TOKEN}"}
    async with asyncio.timeout(90):
        while True:
            try:
                async with client.post(f"{routes}/", json={"target": target.url}, headers=headers) as answer:
                    assert answer.status == 201
                break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
    async with client.post(
        f"{routes}/dead", json={"target": f"http://127.0.0.1:{free_port()}"}, headers=headers
    ) as done:
        assert done.status == 201
    async with client.get(routes) as refused:
        assert refused.status == 403
    yield f"http://127.0.0.1:{port}"
    child.kill()
    await child.wait()


async def test_path_and_query_reach_the_target_as_they_were_sent(proxy, client):
    from yarl import URL

    path = "/echo/a%2Fb/%25/%ED%95%9C?q=%20x&q=2"
    async with client.get(URL(proxy + path, encoded=True)) as answer:
        assert (await answer.json())["path"] == path


async def test_the_target_learns_who_asked_and_connection_headers_stay_here(proxy, client):
    async with client.get(f"{proxy}/echo", headers={"X-Forwarded-For": "10.9.9.9", "TE": "trailers"}) as answer:
        headers = (await answer.json())["headers"]
    assert headers["x-forwarded-for"] == "10.9.9.9, 127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["host"] == proxy.removeprefix("http://")
    assert "te" not in headers


async def test_each_cookie_and_each_encoding_passes_untouched(proxy, client):
    async with client.get(f"{proxy}/cookies") as answer:
        assert len(answer.headers.getall("Set-Cookie")) == 2
    async with client.get(f"{proxy}/zipped") as answer:
        assert gzip.decompress(await answer.read()) == b"text" * 100
        assert answer.headers["ETag"] == '"x"'
    async with client.head(f"{proxy}/echo") as answer:
        assert answer.status == 200
        assert int(answer.headers["Content-Length"]) > 0


async def test_answers_without_a_body_stay_without(proxy, client):
    for method, status in (("GET", 304), ("DELETE", 204)):
        async with client.request(method, f"{proxy}/nothing") as answer:
            assert (answer.status, await answer.read()) == (status, b"")


async def test_an_upload_of_megabytes_arrives_whole(proxy, client):
    async with client.post(f"{proxy}/upload", data=io.BytesIO(b"x" * 20_000_000)) as answer:
        assert await answer.json() == {"bytes": 20_000_000}


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_a_large_body_is_passed_on_while_it_comes(proxy, client, target, method):
    async def body():
        for _ in range(40):
            yield b"x" * 100_000
        async with asyncio.timeout(90):
            await target.hung_up.wait()  # the target has the first pieces before the last is sent
        yield b"end"

    for headers in ({}, {"Content-Length": "4000003"}):
        target.hung_up.clear()
        async with client.request(method, f"{proxy}/begun", data=body(), headers=headers) as answer:
            assert await answer.json() == {"bytes": 4_000_003}


async def test_a_target_that_refuses_a_large_body_or_is_gone_is_told(proxy, client):
    async def body():
        for _ in range(300):
            yield b"x" * 100_000

    for path, status in (("too-large", 413), ("dead/x", 503)):
        with contextlib.suppress(aiohttp.ClientConnectionError):  # the answer may come before all is sent
            async with client.put(f"{proxy}/{path}", data=body()) as answer:
                assert answer.status == status
    async with client.get(f"{proxy}/echo") as answer:
        assert answer.status == 200


async def test_an_upload_that_breaks_off_harms_nobody(proxy, client, target):
    async def body():
        yield b"x" * 3_000_000
        await target.hung_up.wait()
        raise ValueError("gone")

    with pytest.raises((ValueError, aiohttp.ClientError)):
        await client.put(f"{proxy}/begun", data=body())
    async with client.post(f"{proxy}/upload", data=b"small") as answer:
        assert await answer.json() == {"bytes": 5}


async def test_events_come_as_they_happen_and_the_target_hears_of_a_hang_up(proxy, client, target):
    async with client.get(f"{proxy}/live") as answer:
        assert [await answer.content.readline() for _ in range(3)] == [b"data: 0\n", b"\n", b"data: 1\n"]
        assert target.streams == 1
    async with asyncio.timeout(90):
        await target.hung_up.wait()


async def test_a_hundred_streams_do_not_keep_others_waiting(proxy, client, target):
    streams = [await client.get(f"{proxy}/live") for _ in range(100)]
    assert target.streams == 100
    async with asyncio.timeout(90), client.get(f"{proxy}/echo") as answer:
        assert answer.status == 200
    for stream in streams:
        stream.close()


async def test_an_answer_that_breaks_off_is_seen_to_break_off(proxy, client):
    async with client.get(f"{proxy}/cut") as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_a_target_that_is_gone_gives_503_for_pages_and_websockets(proxy, client):
    async with client.get(f"{proxy}/dead/x") as answer:
        assert answer.status == 503
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect(f"{proxy}/dead/x")
    assert refused.value.status == 503


async def test_a_websocket_keeps_its_subprotocol_big_messages_and_close_code(proxy, client):
    channel = await client.ws_connect(f"{proxy}/socket", protocols=(PROTOCOL,), max_msg_size=0)
    assert channel.protocol == PROTOCOL
    for message in (b"\x00\xff" * 10_000_000, b"small"):
        await channel.send_bytes(message)
        assert await channel.receive_bytes() == message
    await channel.send_str("한글")
    assert await channel.receive_str() == "한글"
    await channel.send_str("bye")
    assert (await channel.receive()).type is aiohttp.WSMsgType.CLOSE
    assert channel.close_code == 4001


async def test_a_websocket_that_the_browser_leaves_is_closed_at_the_target(proxy, client, target):
    channel = await client.ws_connect(f"{proxy}/socket")
    await channel.close()
    async with asyncio.timeout(90):
        await target.hung_up.wait()


async def test_a_request_that_names_another_host_is_not_relayed_there(proxy, target):
    host, port = proxy.removeprefix("http://").split(":")

    def ask():
        with socket.create_connection((host, int(port)), timeout=90) as raw:
            raw.sendall(b"GET http://example.org/echo HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n")
            return raw.makefile("rb").readline()

    assert b" 404 " in await asyncio.to_thread(ask)
