"""A bad cable between this network namespace and another, for kernels without netem: `cable.py HERE NAMESPACE THERE`.

It makes an interface at each end and carries packets between them as the lines of its stdin say: DELAY and JITTER in
milliseconds and LOSS in percent. It says `ready`, and after each such line what became of the packets before it; it ends
with its stdin.
"""

import ctypes
import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
TUN_WITHOUT_HEADER = 0x1001
CLONE_NEWNET = 0x40000000


def interface(name):
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", name.encode(), TUN_WITHOUT_HEADER))
    return end


def enter(namespace):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def main(here, namespace, there):
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    ends = [interface(here)]
    enter(os.open(f"/var/run/netns/{namespace}", os.O_RDONLY))
    ends.append(interface(there))
    enter(home)
    print("ready", flush=True)
    delay = jitter = loss = 0.0
    # The same losses in every run, as far as the packets are the same.
    rng, under_way, order = random.Random(7), [], itertools.count()
    count = lost = 0
    while True:
        wait = max(0, under_way[0][0] - time.monotonic()) if under_way else None
        for ready in select.select([0, *ends], [], [], wait)[0]:
            if ready == 0:
                line = os.read(0, 4096).decode()
                if not line:
                    return
                delay, jitter, loss = map(float, line.splitlines()[-1].split())
                print(f"{lost} of {count + lost} packets lost", flush=True)
                count, lost = 0, 0
                continue
            packet = os.read(ready, 65536)
            if rng.uniform(0, 100) < loss:
                lost += 1
                continue
            due = time.monotonic() + max(0, delay + rng.uniform(-jitter, jitter)) / 1000
            count += 1
            heapq.heappush(under_way, (due, next(order), ends[1] if ready == ends[0] else ends[0], packet))
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, end, packet = heapq.heappop(under_way)
            try:
                os.write(end, packet)
            except OSError:
                pass  # The interface is down: a packet lost.


main(*sys.argv[1:])
