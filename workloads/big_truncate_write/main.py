"""A file of 64 MiB, saved over itself: `main.py old` makes the old content, `main.py new` cuts it and writes the new.

The size can be given in MiB as a second argument.
"""

import random
import sys

which, size = sys.argv[1], int((sys.argv[2:] or [64])[0])
content = random.Random(which)  # pseudo-random, and the same in every run
with open("data", "wb", buffering=0) as file:
    for _ in range(size):
        file.write(content.randbytes(1 << 20))
