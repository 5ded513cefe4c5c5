"""The bug of `naive_config` as it looks in Python: open(path, "w") cuts the old settings to nothing first.

The text leaves in two writes, a full buffer and the rest, so the file may also stop in the middle of the JSON.
"""

import json


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
    with open(path, "w") as file:
        json.dump(settings, file)


save("settings.json", after_a_session("settings.json"))
