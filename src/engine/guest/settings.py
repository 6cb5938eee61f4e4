"""What the host decided, and what the parts of the agent share."""

import json
import os
import sys

CONFIG = json.loads(sys.argv[1])

# Where these modules lie.
HERE = os.path.dirname(sys.argv[0])

# One piece of text in a line. Escaped, a character takes 6 bytes at most: under the host's 1 MiB a line.
PIECE = 128 * 1024
# What is read from a pipe at a time; also the size asked for the pipes themselves.
CHUNK = 256 * 1024
