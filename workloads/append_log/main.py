"""A log of records of one length: each is appended, synced, and then acknowledged.

`main.py setup` makes a log of six records; `main.py append` appends three more. `without-fsync` leaves the fsync out,
so that what was acknowledged may be gone.

A record of 64 bytes never lies across the end of a sector, so none is torn, and what was synced is safe from the next
write into its block: that writes the same bytes again. The last record alone can be more than missing. Where its block
was there before, ext4 may commit the new size first, and the file ends in zeros. A reader has to drop such a tail.
"""

import os
import sys

LENGTH = 64


def record(number):
    return f"{number:06} a track was played, {number * 61007 % 240000} ms of it".ljust(LENGTH - 1).encode() + b"\n"


def append(log, numbers, fsync):
    for number in numbers:
        os.write(log, record(number))
        if fsync:
            os.fsync(log)
        print(f"saved {number}\n", end="", flush=True)  # in one write


match sys.argv[1:]:
    case ["setup"]:
        with open("log", "wb") as log:
            log.writelines(map(record, range(1, 7)))
    case ["append", *without]:
        append(os.open("log", os.O_WRONLY | os.O_APPEND), range(7, 10), fsync="without-fsync" not in without)
    case _:
        sys.exit(__doc__)
