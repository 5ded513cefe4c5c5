"""Replaces a directory with all its files at once: renameat2(2) with RENAME_EXCHANGE.

`main.py setup` makes the directory `theme`, `main.py save` builds the next one beside it, syncs its files, its names and
the directory above, and exchanges the two. So all files of `theme` are old, or all are new.

`without-fsync` exchanges directories whose files may be empty. `without-directory-fsync` does not sync the exchange, so
that what was acknowledged may be undone.
"""

import ctypes
import os
import sys

FILES = ("colours", "fonts")
AT_FDCWD, RENAME_EXCHANGE = -100, 2
LIBC = ctypes.CDLL(None, use_errno=True)


def content(name, version):
    return b"".join(b"%s %04d of version %d\n" % (name.encode(), number, version) for number in range(200))


def build(directory, version, fsync):
    os.mkdir(directory)
    for name in FILES:
        with open(f"{directory}/{name}", "wb") as file:
            file.write(content(name, version))
            file.flush()
            if fsync:
                os.fsync(file.fileno())
    sync(directory)


def sync(path):
    directory = os.open(path, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def exchange(one, other):
    if LIBC.renameat2(AT_FDCWD, one.encode(), AT_FDCWD, other.encode(), RENAME_EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), "renameat2", one)


def save(without):
    build("theme.next", 2, fsync="without-fsync" not in without)
    sync(".")
    exchange("theme", "theme.next")
    if "without-directory-fsync" not in without:
        sync(".")
    print("saved\n", end="", flush=True)  # in one write


match sys.argv[1:]:
    case ["setup"]:
        build("theme", 1, fsync=True)
    case ["save", *without]:
        save(without)
    case _:
        sys.exit(__doc__)
