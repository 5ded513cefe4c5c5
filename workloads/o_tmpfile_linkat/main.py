"""Replaces a file by one that is made without a name: O_TMPFILE, linkat(2), fsync, rename, fsync of the directory.

linkat does not replace, so the file gets a temporary name, and rename puts it into place. What a crash leaves behind is
gone with the last descriptor, or has that one name.

The fsync comes after linkat: btrfs logs nothing of a file that has no name (`btrfs_log_inode_parent` in
fs/btrfs/tree-log.c), and does not make up for it when the file gets one. `fsync-before-link` shows that: the directory's
fsync brings the name to the disk, of an empty file. `without-fsync` renames a file whose data may come later.
"""

import os
import sys


def settings(version):
    return b"".join(b"setting %04d of version %d\n" % (number, version) for number in range(400))


def save(path, content, without):
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    file = os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o644, dir_fd=directory)
    os.write(file, content)
    if "fsync-before-link" in without:
        os.fsync(file)
    # With a directory descriptor Python calls linkat, which follows the link to the file (open(2), O_TMPFILE).
    os.link(f"/proc/self/fd/{file}", f"{path}.new", src_dir_fd=directory)
    if "fsync-before-link" not in without and "without-fsync" not in without:
        os.fsync(file)
    os.rename(f"{path}.new", path)
    os.fsync(directory)
    print("saved\n", end="", flush=True)  # in one write


match sys.argv[1:]:
    case ["setup"]:
        with open("settings", "wb") as file:
            file.write(settings(1))
    case ["save", *without]:
        save("settings", settings(2), without)
    case _:
        sys.exit(__doc__)
