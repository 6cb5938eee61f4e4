"""The directory of a sandbox that has no file system of its own: made, filled and removed from outside."""

import os


def fill(config):
    """What the sandbox reads belongs to the server, what it writes to its own user."""
    directory, uid = config["directory"], config["uid"]
    for name in ("agent", "bin"):
        os.mkdir("%s/%s" % (directory, name), 0o755)
    for name, descriptor in config["modules"].items():
        with open("%s/agent/%s.pyc" % (directory, name), "xb") as file:
            file.write(os.pread(descriptor, 1 << 20, 0))
    for name, target in config["links"].items():
        os.symlink(target, "%s/bin/%s" % (directory, name))
    for place in config["places"]:
        os.mkdir(place, 0o700)
        if uid is not None:
            os.chown(place, uid, uid)


def remove(root):
    """Flattens as it goes, as paths may be longer than the kernel takes."""
    places = [root]
    for place in places:
        with os.scandir(place) as entries:
            for entry in list(entries):
                if entry.is_dir(follow_symlinks=False):
                    os.chmod(entry.path, 0o700)
                    places.append("%s/.%d" % (root, len(places)))
                    os.rename(entry.path, places[-1])
                else:
                    os.unlink(entry.path)
    for place in reversed(places):
        os.rmdir(place)
