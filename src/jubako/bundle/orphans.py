"""A child that does not outlive its parent: a worker left alone would keep the port, and answer for nobody."""

import ctypes
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1


def end_with_parent() -> None:
    """Have this process stopped as by SIGTERM when its parent dies, however that dies. Linux only; else nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
