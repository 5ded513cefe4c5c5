"""A write-ahead log moves on to its next segment, as etcd's does (`cut` in server/storage/wal/wal.go).

`main.py setup` makes the first segment with two records. `main.py cut` appends record 3, makes the next segment, and
appends records 4 and 5 there. `main.py check` opens the log as the program would after a crash: a segment whose
beginning is not whole is an error, as in etcd, and every acknowledged record must be there.

The next segment is made under a temporary name: its space is allocated, its header written and synced. Then it is
renamed, and the directory synced. So a segment that has its name has its header, and one that takes records keeps its
name. Records go into allocated space, so that fdatasync has no metadata to wait for; that is why it would not bring a
missing rename to the disk either.

What may be left out: `without-header-fsync`: there may be a segment whose header is zeros. `without-directory-fsync`:
the segment may be left under its temporary name, with all its records (ext4 shows it; on xfs and btrfs the fdatasync of
a file that was renamed carries the new name along, which nothing promises). `without-temporary-name`: the segment is made under its own name, and may be found half made.
"""

import os
import re
import struct
import sys
import zlib

ALLOCATED = 8192  # etcd: 64 MiB
HEADER = struct.Struct("<II")  # length of the payload; its checksum


def record(text):
    payload = (text * 30).encode()
    return HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def begin(segment):
    return record(f"segment {segment} begins; ")


def entry(number):
    return record(f"record {number}; ")


def append(segment, end, number):
    """Appends a record at `end`; the new end."""
    end += os.pwrite(segment, entry(number), end)
    os.fdatasync(segment)
    print(f"saved {number}\n", end="", flush=True)  # in one write
    return end


def cut(without):
    """Makes the next segment; it, and its end."""
    name = "1.wal" if "without-temporary-name" in without else "1.tmp"
    segment = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.posix_fallocate(segment, 0, ALLOCATED)
    end = os.pwrite(segment, begin(1), 0)
    if "without-header-fsync" not in without:
        os.fsync(segment)
    if "without-temporary-name" not in without:
        os.rename("1.tmp", "1.wal")
    if "without-directory-fsync" not in without:
        os.fsync(os.open(".", os.O_RDONLY))
    return segment, end


def read(name):
    """The payloads up to the first that is not whole."""
    with open(name, "rb") as file:
        log = file.read()
    at = 0
    while len(log) - at >= HEADER.size:
        length, checksum = HEADER.unpack_from(log, at)
        payload = log[at + HEADER.size : at + HEADER.size + length]
        if length == 0 or len(payload) < length or zlib.crc32(payload) != checksum:
            break
        yield log[at : at + HEADER.size + length]
        at += HEADER.size + length


def check():
    found = []
    for segment in range(2):
        if os.path.exists(f"{segment}.wal"):
            records = list(read(f"{segment}.wal"))
            if records[:1] != [begin(segment)]:
                sys.exit(f"{segment}.wal does not begin with its header")
            found += records[1:]
    if found != [entry(number) for number in range(1, len(found) + 1)]:
        sys.exit("the log holds other records than were written")
    with open(os.environ["HARNESS_ACKS"], "rb") as acks:
        acknowledged = max(map(int, re.findall(rb"saved (\d+)", acks.read())), default=2)
    if len(found) < acknowledged:
        sys.exit(f"record {acknowledged} was acknowledged, and the log ends with record {len(found)}")


match sys.argv[1:]:
    case ["setup"]:
        with open("0.wal", "wb") as segment:
            segment.write((begin(0) + entry(1) + entry(2)).ljust(ALLOCATED, b"\0"))
    case ["cut", *without]:
        append(os.open("0.wal", os.O_WRONLY), len(begin(0) + entry(1) + entry(2)), 3)
        segment, end = cut(without)
        end = append(segment, end, 4)
        append(segment, end, 5)
    case ["check", *_]:  # the file with the acks is named there, too
        check()
    case _:
        sys.exit(__doc__)
