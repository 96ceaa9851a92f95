"""`python -m benchmarks`."""

import sys

from benchmarks.command import main

if __name__ == "__main__":  # the load generator's process imports this module too
    sys.exit(main())
