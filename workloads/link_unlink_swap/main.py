"""Replaces a file by link and unlink, with no rename: there is a moment without the file.

`main.py setup` makes the old settings, `main.py save` replaces them, `main.py check` reads them as the program would
after a crash: `settings`, or, where there are none, `settings.old`.

The new file is synced before it gets its name. The old one has a second name, and the directory is synced, before it
loses its first. So one of both names is there at any time, and each stands for a whole file.
`without-backup` gives it no second name, and `without-fsync` may leave a name for a file that is empty.
"""

import os
import sys


def settings(version):
    return b"".join(b"setting %04d of version %d\n" % (number, version) for number in range(200))


def write(path, content, fsync=True):
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        if fsync:
            os.fsync(file.fileno())


def save(without):
    directory = os.open(".", os.O_RDONLY)
    write("settings.new", settings(2), fsync="without-fsync" not in without)
    if "without-backup" not in without:
        os.link("settings", "settings.old")
        os.fsync(directory)
    os.unlink("settings")
    os.link("settings.new", "settings")
    os.fsync(directory)
    os.unlink("settings.new")
    if "without-backup" not in without:
        os.unlink("settings.old")
    os.fsync(directory)
    print("saved\n", end="", flush=True)  # in one write


def check():
    try:
        path = next(path for path in ("settings", "settings.old") if os.path.exists(path))
    except StopIteration:
        sys.exit("there are no settings")
    with open(path, "rb") as file:
        found = file.read()
    if found not in (settings(1), settings(2)):
        sys.exit(f"{path} holds neither the old settings nor the new ones")
    with open(os.environ["HARNESS_ACKS"], "rb") as acks:
        if b"saved" in acks.read() and found != settings(2):
            sys.exit("the new settings were acknowledged, and the old ones are there")


match sys.argv[1:]:
    case ["setup"]:
        write("settings", settings(1))
    case ["save", *without]:
        save(without)
    case ["check", *_]:  # the file with the acks is named there, too
        check()
    case _:
        sys.exit(__doc__)
