"""A log in segments: records 3 and 4 end the first one, record 5 begins the second, and one ack covers all three.

`main.py setup` makes the first segment with two records, `main.py append` writes the three, `main.py check` reads the
segments in order up to the first record that is not whole, or not the next: what was acknowledged must be there.

An fsync speaks for one file. So the first segment is synced before the second one is begun.
`without-old-fsync` syncs the segment that it writes to, and no other, before it acknowledges.
"""

import os
import re
import struct
import sys
import zlib

HEADER = struct.Struct("<III")  # number; length of the payload; checksum of the number and the payload


def record(number):
    payload = (f"record {number}; " * 200)[: 500 + number * 300 % 800].encode()
    return HEADER.pack(number, len(payload), zlib.crc32(number.to_bytes(4, "little") + payload)) + payload


def read(segment):
    """The numbers of the records up to the first that is not whole."""
    at = 0
    while len(segment) - at >= HEADER.size:
        number, length, _ = HEADER.unpack_from(segment, at)
        if segment[at : at + HEADER.size + length] != record(number):  # it knows what a whole record looks like
            break
        yield number
        at += HEADER.size + length


def append(without):
    old = os.open("log.1", os.O_WRONLY | os.O_APPEND)
    os.write(old, record(3))
    os.write(old, record(4))
    if "without-old-fsync" not in without:
        os.fsync(old)
    new = os.open("log.2", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
    os.write(new, record(5))
    os.fsync(new)
    os.fsync(os.open(".", os.O_RDONLY))
    print("saved 5\n", end="", flush=True)  # in one write


def check():
    last = 0
    for name in ("log.1", "log.2"):
        if os.path.exists(name):
            with open(name, "rb") as segment:
                for number in read(segment.read()):
                    if number == last + 1:
                        last = number
    with open(os.environ["HARNESS_ACKS"], "rb") as acks:
        acknowledged = max(map(int, re.findall(rb"saved (\d+)", acks.read())), default=2)
    if last < acknowledged:
        sys.exit(f"record {acknowledged} was acknowledged, and the log ends with record {last}")


match sys.argv[1:]:
    case ["setup"]:
        with open("log.1", "wb") as segment:
            segment.write(record(1) + record(2))
    case ["append", *without]:
        append(without)
    case ["check", *_]:  # the file with the acks is named there, too
        check()
    case _:
        sys.exit(__doc__)
