"""The recipe for atomic replace in Python: temporary file beside the old one, flush, fsync, os.replace.

Without the flush, fsync would sync a file that is still in Python's own buffer. Without an fsync of the directory,
a crash may still bring the old settings back, whole.
"""

import json
import os
from tempfile import NamedTemporaryFile


def after_a_session(path):
    """Reads the settings (there are none at the first start) and changes what a session of the player changes."""
    try:
        with open(path) as file:
            settings = json.load(file)
    except FileNotFoundError:
        settings = {"saves": 0, "volume": 80, "theme": "light", "queue": []}
        add_tracks(settings["queue"], 118)
    else:
        settings["volume"] = 100
        settings["theme"] = "midnight"
        add_tracks(settings["queue"], 9)
    settings["saves"] += 1
    for number, track in enumerate(settings["queue"]):  # all of them: old and new differ in each 512 bytes
        track["plays"] += 1 + number % 3
        track["position"] = (track["position"] + 61007) % 240000
    return settings


def add_tracks(queue, count):
    for number in range(len(queue), len(queue) + count):
        queue.append({"title": f"Lantern no. {number}", "artist": "Ida Lund", "plays": 0, "position": number * 1009})


def save(path, settings):
    with NamedTemporaryFile("w", dir=os.path.dirname(path) or ".", delete=False) as file:
        json.dump(settings, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)


save("settings.json", after_a_session("settings.json"))
