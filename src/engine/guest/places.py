"""Where the sandbox's own places are: under their names, unless the machine refuses it a file system of its own."""

import os

from settings import CONFIG

WORKSPACE, TMP = CONFIG.get("places", ("/workspace", "/tmp"))
NAMES = ((WORKSPACE, "/workspace"), (TMP, "/tmp"))


def located(path):
    """The place that a path of the host means; a relative one is in the workspace."""
    path = os.path.join(WORKSPACE, path)
    for place, _ in NAMES:
        if path == place or path.startswith(place + "/"):
            return path
    for place, name in NAMES:
        if path == name or path.startswith(name + "/"):
            return place + path[len(name) :]
    return path


def named(path):
    """The path by which the host knows a file."""
    for place, name in NAMES:
        if path == place or path.startswith(place + "/"):
            return name + path[len(place) :]
    return path
