"""A log of records of any length, each with its length and checksum, synced and then acknowledged.

`main.py setup` makes a log of two records, `main.py append` appends three more, `main.py check` reads what a crash
left: every record that was acknowledged must be there.

A record may be torn, or end in zeros, until it is synced. The reader ends at the first whose checksum does not match,
so it never takes such a tail for a record. `without-checksum` trusts the length alone. `without-fsync` acknowledges
what may be gone.
"""

import os
import re
import struct
import sys
import zlib

HEADER = struct.Struct("<II")  # length of the payload; checksum of length and payload


def payload(number):
    return (f"record {number}; " * 200)[: 500 + number * 300 % 800].encode()


def checksum(payload):
    return zlib.crc32(len(payload).to_bytes(4, "little") + payload)  # not 0 for an empty one: zeros are no record


def record(number):
    return HEADER.pack(len(payload(number)), checksum(payload(number))) + payload(number)


def read(log, trusting):
    """The payloads up to the first record that is not whole."""
    at = 0
    while len(log) - at >= HEADER.size:
        length, expected = HEADER.unpack_from(log, at)
        found = log[at + HEADER.size : at + HEADER.size + length]
        if len(found) < length or length == 0 or not (trusting or checksum(found) == expected):
            break
        yield found
        at += HEADER.size + length


def append(log, numbers, fsync):
    for number in numbers:
        os.write(log, record(number))
        if fsync:
            os.fsync(log)
        print(f"saved {number}\n", end="", flush=True)  # in one write


def acknowledged():
    with open(os.environ["HARNESS_ACKS"], "rb") as acks:
        return max(map(int, re.findall(rb"saved (\d+)", acks.read())), default=2)


def check(trusting):
    with open("log", "rb") as log:
        found = list(read(log.read(), trusting))
    if found != [payload(number) for number in range(1, len(found) + 1)]:
        sys.exit("the log holds a record that was never written")
    if len(found) < acknowledged():
        sys.exit(f"record {acknowledged()} was acknowledged, and the log ends with record {len(found)}")


match sys.argv[1:]:
    case ["setup"]:
        with open("log", "wb") as log:
            log.writelines(map(record, range(1, 3)))
    case ["append", *without]:
        append(os.open("log", os.O_WRONLY | os.O_APPEND), range(3, 6), fsync="without-fsync" not in without)
    case ["check", *without]:
        check(trusting="without-checksum" in without)
    case _:
        sys.exit(__doc__)
