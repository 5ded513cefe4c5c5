"""Two account files are changed in place, together, under the protection of a rollback journal.

`main.py setup` makes the accounts, `main.py transfer` changes both, twice, and `main.py check` does what the program
would do after a crash, recovers, and then asks for both accounts as they were after the same transfer, and not an
earlier one than was acknowledged.

A transfer: (1) the old accounts go to a new file, which is synced, renamed to `journal`, and the directory is synced,
so that there is a journal, and a whole one, before anything is overwritten. (2) The accounts are overwritten and synced.
(3) The journal is unlinked, which is the commit, and the directory is synced. Whoever finds a journal puts back what
it holds.

Each step needs the one before it on the disk. What may be left out here, to see what comes of it:
`without-journal-fsync`: the journal may have its name and no content. `without-directory-fsync`: the accounts may be
overwritten before the journal has its name; on btrfs only if a commit comes between the fsync and the rename.
`without-commit-fsync`: the journal may come back, and undo what was acknowledged. `unlink-before-fsync`: there may be
no journal any more, and one account of two on the disk.
"""

import os
import re
import sys

OWNERS = ("alice", "bob")
LENGTH = 3000  # several sectors, so that an account can be torn


def account(owner, transfers):
    """What the file of `owner` holds: no sector is the same after another transfer."""
    balance = 1000 + (-10 if owner == "alice" else 10) * transfers
    return (f"{owner} has {balance:05} after {transfers} transfers\n" * 100)[:LENGTH].encode()


def write(path, content):
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(file, content)
    return file


def transfer(number, accounts, directory, without):
    journal = write("journal.new", b"".join(os.pread(file, LENGTH, 0) for file in accounts))
    if "without-journal-fsync" not in without:
        os.fsync(journal)
    os.close(journal)
    os.rename("journal.new", "journal")
    if "without-directory-fsync" not in without:
        os.fsync(directory)

    for owner, file in zip(OWNERS, accounts):
        os.pwrite(file, account(owner, number), 0)
    if "unlink-before-fsync" in without:
        os.unlink("journal")
        os.fsync(directory)
    for file in accounts:
        os.fsync(file)

    if "unlink-before-fsync" not in without:
        os.unlink("journal")
        if "without-commit-fsync" not in without:
            os.fsync(directory)
    print(f"saved {number}\n", end="", flush=True)  # in one write


def recover():
    if os.path.exists("journal.new"):
        os.unlink("journal.new")  # it never became a journal
    if not os.path.exists("journal"):
        return
    with open("journal", "rb") as journal:
        for owner in OWNERS:
            with open(owner, "r+b") as file:
                file.write(journal.read(LENGTH))
                file.flush()
                os.fsync(file.fileno())
    os.unlink("journal")


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
            write(owner, account(owner, 0))
    case ["transfer", *without]:
        accounts = [os.open(owner, os.O_RDWR) for owner in OWNERS]
        directory = os.open(".", os.O_RDONLY)
        for number in (1, 2):
            transfer(number, accounts, directory, without)
    case ["check", *_]:  # the file with the acks is named there, too
        check()
    case _:
        sys.exit(__doc__)
