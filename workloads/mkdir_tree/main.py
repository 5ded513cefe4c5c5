"""Makes nested directories and a file in them, durable from the file up to the directory that was there before.

A file's fsync speaks for its content, a directory's for the names in it, each for one level: so the new directories and
the one above them are synced too. `without-directory-fsync` syncs the file alone, before it has its name.
"""

import os
import sys


def sync(path):
    directory = os.open(path, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def main(without):
    os.mkdir("albums")
    os.mkdir("albums/lantern")
    with open("albums/lantern/tracks.new", "wb") as file:
        file.write(b"".join(b"track %04d\n" % number for number in range(500)))
        file.flush()
        os.fsync(file.fileno())
    os.rename("albums/lantern/tracks.new", "albums/lantern/tracks")
    if "without-directory-fsync" not in without:
        sync("albums/lantern")
        sync("albums")
        sync(".")
    print("saved\n", end="", flush=True)  # in one write


main(sys.argv[1:])
