"""A WebSocket client and server that are not ours, against the echo example: `websocket.py EXAMPLE`."""

import asyncio
import subprocess
import sys

import websockets

SIZES = [2, 125, 126, 65535, 65536, 1_000_000]


def message(size):
    return b"{" + bytes(i * 31 % 256 for i in range(size - 1))


async def as_client(example):
    """Our listener, under compression that it must decline, text, binary, fragments, pings and a close."""
    process = subprocess.Popen([example, "listen"], stdout=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().split()[-1]
        async with websockets.connect(f"ws://{address}/amps/json", max_size=None) as peer:
            assert not peer.protocol.extensions and peer.subprotocol is None
            for size in SIZES:
                await peer.send(message(size))
                assert await peer.recv() == message(size), size
            await peer.send('{"a":"ä"}')
            assert await peer.recv() == '{"a":"ä"}'.encode()
            await peer.send([b'{"a', b"", b'":', b"1}"])
            assert await peer.recv() == b'{"a":1}'
            await asyncio.wait_for(await peer.ping(b"still there?"), 10)
            framed = (7).to_bytes(4, "big") + b'{"a":1}'
            await peer.send(framed * 2)
            assert [await peer.recv(), await peer.recv()] == [framed, framed], "in kind"
        assert peer.close_code == 1000, peer.close_code
        async with websockets.connect(f"ws://{address}/", subprotocols=["amps"]) as peer:
            assert peer.subprotocol is None
            # Text that is no UTF-8: a frame made by hand.
            peer.transport.write(b"\x81\x81\0\0\0\0\xff")
            await peer.wait_closed()
            assert peer.close_code in (1002, 1007), peer.close_code
    finally:
        process.kill()
        process.wait()


async def as_server(example):
    """Our client, which must neither offer compression nor forget the close."""
    closed = asyncio.get_running_loop().create_future()

    async def echo(peer):
        assert "Sec-WebSocket-Extensions" not in peer.request.headers
        assert peer.request.path == "/amps/json"
        count = 0
        async for came in peer:
            assert isinstance(came, bytes) and came[:1] == b"{"
            count += 1
            # Every second one in fragments.
            await peer.send(came if count % 2 else [came[:1], came[1:]])
        closed.set_result((count, peer.close_code))

    async with websockets.serve(echo, "127.0.0.1", 0, max_size=None) as server:
        port = server.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(example, "connect", f"127.0.0.1:{port}")
        assert await asyncio.wait_for(process.wait(), 60) == 0
        assert await asyncio.wait_for(closed, 10) == (len(SIZES), 1000)


asyncio.run(as_client(sys.argv[1]))
asyncio.run(as_server(sys.argv[1]))
print(f"websockets {websockets.__version__}: both ways")
