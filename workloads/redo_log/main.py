"""Two account files are changed in place, together, after the change was logged: write-ahead logging.

`main.py setup` makes the accounts and an empty log, `main.py transfer` changes both accounts, twice, and `main.py check`
does what the program would do after a crash, recovers, and then asks for both accounts as they were after the same
transfer, and not an earlier one than was acknowledged.

A transfer: (1) the new accounts go to the log, with a checksum, and the log is synced: that is the commit, and it is
acknowledged. (2) The accounts are overwritten and synced. (3) The log is emptied, and synced so. Whoever finds a whole
record in the log writes it to the accounts again; one that is not whole was never committed.

What may be left out here, to see what comes of it: `without-log-fsync`: accounts may be overwritten while the log holds
nothing. `truncate-before-fsync`: the log may be empty, and the accounts still old.
"""

import os
import re
import struct
import sys
import zlib

OWNERS = ("alice", "bob")
LENGTH = 3000  # several sectors, so that an account can be torn
CHECKSUM = struct.Struct("<I")


def account(owner, transfers):
    """What the file of `owner` holds: no sector is the same after another transfer."""
    balance = 1000 + (-10 if owner == "alice" else 10) * transfers
    return (f"{owner} has {balance:05} after {transfers} transfers\n" * 100)[:LENGTH].encode()


def transfer(number, accounts, log, without):
    new = [account(owner, number) for owner in OWNERS]
    os.pwrite(log, CHECKSUM.pack(zlib.crc32(b"".join(new))) + b"".join(new), 0)
    if "without-log-fsync" not in without:
        os.fsync(log)
    print(f"saved {number}\n", end="", flush=True)  # in one write

    for file, content in zip(accounts, new):
        os.pwrite(file, content, 0)
    if "truncate-before-fsync" in without:
        empty(log)
    for file in accounts:
        os.fsync(file)
    if "truncate-before-fsync" not in without:
        empty(log)


def empty(log):
    os.ftruncate(log, 0)
    os.fsync(log)


def recover():
    with open("log", "r+b") as log:
        checksum, new = log.read(CHECKSUM.size), log.read()
        if len(new) != LENGTH * len(OWNERS) or CHECKSUM.pack(zlib.crc32(new)) != checksum:
            return
        for at, owner in enumerate(OWNERS):
            with open(owner, "r+b") as file:
                file.write(new[at * LENGTH : (at + 1) * LENGTH])
                file.flush()
                os.fsync(file.fileno())
        empty(log.fileno())


def acknowledged():
    with open(os.environ["HARNESS_ACKS"], "rb") as acks:
        return max(map(int, re.findall(rb"saved (\d+)", acks.read())), default=0)


def check():
    recover()
    found = {owner: open(owner, "rb").read() for owner in OWNERS}
    for number in range(3):
        if found == {owner: account(owner, number) for owner in OWNERS}:
            break
    else:
        sys.exit("the accounts are not as they were after any transfer")
    if number < acknowledged():
        sys.exit(f"transfer {acknowledged()} was acknowledged, and the accounts are as after {number}")


match sys.argv[1:]:
    case ["setup"]:
        for owner in OWNERS:
            with open(owner, "wb") as file:
                file.write(account(owner, 0))
        open("log", "wb").close()
    case ["transfer", *without]:
        accounts = [os.open(owner, os.O_RDWR) for owner in OWNERS]
        log = os.open("log", os.O_RDWR)
        for number in (1, 2):
            transfer(number, accounts, log, without)
    case ["check", *_]:  # the file with the acks is named there, too
        check()
    case _:
        sys.exit(__doc__)
