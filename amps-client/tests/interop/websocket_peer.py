"""AMPS by the WebSocket library `websockets`: `websocket_peer.py connect URI [ROOTS]`, or `websocket_peer.py listen`."""

import asyncio
import json
import ssl
import sys

import websockets

SIZES = [0, 1, 125, 126, 65_535, 65_536, 1_000_000]


def body_of(size):
    return bytes(i * 31 % 251 for i in range(size))


def parts(message):
    """Header and body."""
    header, at = json.JSONDecoder().raw_decode(message.decode("latin-1"))
    return header, message[at:]


async def connect(uri, roots=None):
    """A client as in a browser: logon, subscribe, publish, receive; text, fragments and a ping too."""
    secure = ssl.create_default_context(cafile=roots) if roots else None
    async with websockets.connect(uri, ssl=secure, max_size=None) as peer:
        assert not peer.protocol.extensions and peer.subprotocol is None

        async def ask(message):
            await peer.send(message)
            return parts(await asyncio.wait_for(peer.recv(), 20))

        logon = {"c": "logon", "cid": "1", "client_name": "python", "mt": "json", "a": "processed"}
        header, _ = await ask(json.dumps(logon))
        assert header["c"] == "ack" and header["status"] == "success", header
        subscribe = {"c": "subscribe", "cid": "2", "t": "notes", "sub_id": "2", "a": "processed"}
        header, _ = await ask(json.dumps(subscribe).encode())
        assert header["status"] == "success", header
        publish = json.dumps({"c": "publish", "t": "notes"}).encode()
        for size in SIZES:
            header, came = await ask(publish + body_of(size))
            assert header["c"] == "p" and came == body_of(size), (header, size)
        header, came = await ask([publish[:5], b"", publish[5:], b"in ", b"pieces"])
        assert came == b"in pieces", came
        await asyncio.wait_for(await peer.ping(b"still there?"), 20)
    assert peer.close_code == 1000, peer.close_code


async def listen():
    """A server: acknowledges, and sends every publish back to the one subscription."""
    closed = asyncio.get_running_loop().create_future()

    async def serve(peer):
        assert peer.request.path == "/desk/amps/json", peer.request.path
        subscription = None
        async for came in peer:
            header, body = parts(came)
            if header["c"] == "subscribe":
                subscription = header.get("sub_id", header["cid"])
            if "a" in header and "cid" in header:
                ack = {"c": "ack", "cid": header["cid"], "a": "processed", "status": "success"}
                await peer.send(json.dumps(ack))
            if header["c"] in ("p", "publish"):
                back = {"c": "p", "t": header["t"], "sids": subscription, "l": len(body)}
                back = json.dumps(back).encode() + body
                await peer.ping()
                await peer.send([back[:1], back[1:]] if len(body) % 2 else back)
        closed.set_result(peer.close_code)

    async with websockets.serve(serve, "127.0.0.1", 0, max_size=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        assert await asyncio.wait_for(closed, 60) == 1000


asyncio.run({"connect": connect, "listen": listen}[sys.argv[1]](*sys.argv[2:]))
