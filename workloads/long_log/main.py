"""A log that grows by 200 records: each is opened, written in seven pieces, synced and closed. 2,000 ops.

A record is a line; the seven pieces are what a logger writes that does not buffer.
"""

import os

for number in range(200):
    log = os.open("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for piece in (f"{number:05}", " ", "note", "=", f"{number * 7919:08}", " ok", "\n"):
        os.write(log, piece.encode())
    os.fsync(log)
    os.close(log)
