"""What is said of an error that ended a run of Python."""

import sys


def report(traceback, error, own_file):
    """Prints it, by the module of that name, without the frames of the kernel's own file; returns the exit code."""
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 0xFF
        print(error.code, file=sys.stderr)
        return 1
    try:
        # Shown oldest first; a chain of causes leads back through each of them.
        shown = traceback.TracebackException(type(error), error, error.__traceback__)
        leave_out(own_file, shown)
        print("".join(shown.format()), end="", file=sys.stderr)
    except Exception as unprintable:
        print("%s (%s)" % (type(error).__name__, type(unprintable).__name__), file=sys.stderr)
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def leave_out(own_file, shown):
    queue = [shown]
    while queue:
        part = queue.pop()
        if part is not None:
            frames = [frame for frame in part.stack if frame.filename != own_file]
            of_code = [index for index, frame in enumerate(frames) if frame.filename.startswith("<execution ")]
            part.stack[:] = frames[of_code[0] if of_code else 0 :]
            queue += [part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())]
