"""The inputs of one request that are copied out of shared memory."""

import numpy as np

from jubako.errors import InvalidArgument
from jubako.protocols.shared_memory.regions import Place, Regions


class Copies:
    """Takes the bytes of one request's inputs, no more than `most` in all.

    The pages of a segment exist only once they are written to: without a bound, nothing but a number that a client
    sends would say how much memory the server takes.
    """

    def __init__(self, regions: Regions, most: int) -> None:
        self._regions = regions
        self._most = most
        self._left = most

    def take(self, name: str, place: Place) -> memoryview:
        """Return a copy of what lies at `place` for the input `name`, whatever its shape says.

        Raises:
            NotFound: no such region.
            InvalidArgument: the place is not in it, or no longer, or the inputs are too much in all.
            Internal: it cannot be read.
        """
        slot = self._regions.slot(place)
        self._left -= place.size
        if self._left < 0:
            raise InvalidArgument(
                f"input '{name}' takes what the request has in shared memory beyond the maximum of {self._most} bytes"
            )
        data = slot.read()
        return data.data if isinstance(data, np.ndarray) else memoryview(data)
