"""Puts a key in a transaction of its own, each, or shows all of them."""
import sys
import lmdb

environment = lmdb.open("d", map_size=1 << 20)
if sys.argv[1] == "put":
    for key in sys.argv[2:]:
        with environment.begin(write=True) as transaction:
            transaction.put(key.encode(), b"value " * 100)
        print("committed", key, flush=True)
else:
    with environment.begin() as transaction:
        for key, value in transaction.cursor():
            print(key, value)
