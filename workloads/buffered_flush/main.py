"""What is written to a file object may lie in the program's own buffer: flush hands it to the kernel, fsync to the disk.

`without-flush` does neither. The buffer goes to the kernel only when the program ends. If it is killed after it has
said "saved", the settings are an empty file, though the machine stands and no power failed.
"""

import os
import sys


def settings(version):
    # Less than the buffer of a file object, 4,096 bytes or more.
    return b"".join(b"setting %04d of version %d\n" % (number, version) for number in range(100))


def save(path, content, flush):
    file = open(f"{path}.new", "wb")
    file.write(content)
    if flush:
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{path}.new", path)
    os.fsync(os.open(".", os.O_RDONLY))
    print("saved\n", end="", flush=True)  # in one write
    return file  # still open: without a flush, this is what loses the settings


match sys.argv[1:]:
    case ["setup"]:
        with open("settings", "wb") as file:
            file.write(settings(1))
    case ["save", *without]:
        kept = save("settings", settings(2), flush="without-flush" not in without)
    case _:
        sys.exit(__doc__)
