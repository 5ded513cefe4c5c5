"""Adds ten to all rows, and says so once that is committed."""
import sqlite3

connection = sqlite3.connect("a.db")
connection.execute("pragma synchronous=extra")
connection.execute("update t set a = a + 10")
connection.commit()
print("committed", flush=True)
connection.close()
