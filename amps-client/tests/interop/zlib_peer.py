"""Compressed AMPS by Python's zlib: `zlib_peer.py connect HOST PORT`, or `zlib_peer.py listen`, which says where."""

import json
import socket
import sys
import zlib


class Compressed:
    """Frames in a compressed stream each way; window and level are others than the usual ones."""

    def __init__(self, connection):
        self.connection = connection
        self.deflate = zlib.compressobj(level=1, wbits=12)
        self.inflate = zlib.decompressobj()
        self.plain = b""

    def send(self, header, body=b""):
        frame = json.dumps(header).encode() + body
        bytes_ = len(frame).to_bytes(4, "big") + frame
        self.connection.sendall(self.deflate.compress(bytes_) + self.deflate.flush(zlib.Z_SYNC_FLUSH))

    def more(self):
        came = self.connection.recv(65536)
        self.plain += self.inflate.decompress(came)
        return bool(came)

    def receive(self):
        """The header and body of a frame; None at the end."""
        while len(self.plain) < 4 or len(self.plain) < 4 + int.from_bytes(self.plain[:4], "big"):
            if not self.more():
                assert not self.plain, "half a frame"
                return None
        end = 4 + int.from_bytes(self.plain[:4], "big")
        frame, self.plain = self.plain[4:end], self.plain[end:]
        text = frame.decode("latin-1")
        header, at = json.JSONDecoder().raw_decode(text)
        return header, frame[at:]

    def finish(self):
        self.connection.sendall(self.deflate.flush(zlib.Z_FINISH))
        self.connection.shutdown(socket.SHUT_WR)


def connect(host, port):
    """A client: logon, subscribe, publish, receive."""
    peer = Compressed(socket.create_connection((host, int(port)), 20))
    peer.send({"c": "logon", "cid": "1", "client_name": "python", "mt": "json", "a": "processed"})
    header, _ = peer.receive()
    assert header["c"] == "ack" and header["status"] == "success", header
    peer.send({"c": "subscribe", "cid": "2", "t": "notes", "sub_id": "2", "a": "processed"})
    header, _ = peer.receive()
    assert header["status"] == "success", header
    for size in [0, 1, 100, 70_000, 1_000_000]:
        body = bytes(i * 31 % 251 for i in range(size))
        peer.send({"c": "publish", "t": "notes"}, body)
        header, came = peer.receive()
        assert header["c"] == "p" and came == body, (header, size)
    peer.finish()
    # The server has nothing to add: that its stream ends without a trailer is in order (protocol.md Z-5).
    assert peer.receive() is None


def listen():
    """A server: acknowledges, and sends every publish back to the one subscription."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    connection, _ = listener.accept()
    connection.settimeout(20)
    peer, subscription = Compressed(connection), None
    while came := peer.receive():
        header, body = came
        if header["c"] == "subscribe":
            subscription = header.get("sub_id", header["cid"])
        if "a" in header and "cid" in header:
            peer.send({"c": "ack", "cid": header["cid"], "a": "processed", "status": "success"})
        if header["c"] in ("p", "publish"):
            peer.send({"c": "p", "t": header["t"], "sids": subscription, "l": len(body)}, body)
    assert peer.inflate.eof, "the client does not end its stream"
    peer.finish()


{"connect": connect, "listen": listen}[sys.argv[1]](*sys.argv[2:])
