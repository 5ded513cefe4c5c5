"""Adds ten to all rows with the value of `synchronous` that is given, and says so once that is committed."""
import sqlite3
import sys

connection = sqlite3.connect("a.db")
connection.execute("pragma synchronous=" + sys.argv[1])
connection.execute("update t set a = a + 10")
connection.commit()
print("committed", flush=True)
connection.close()
