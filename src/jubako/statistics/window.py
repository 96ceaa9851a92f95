"""Quantiles of the last minute, in bounded memory and with integers only.

Values fall into buckets: one for each value below 128, then 64 for each power of two, so that a quantile is right to
within 0.8 %. The minute is six spans of ten seconds; the oldest is forgotten as a whole.
"""

from collections.abc import Sequence
from typing import Final

SPAN_NS: Final = 10_000_000_000
SPANS: Final = 6
EXACT_BITS: Final = 7


class Window:
    """The values, zero or more each, of the last 50 to 60 seconds."""

    __slots__ = ("_spans",)

    def __init__(self) -> None:
        self._spans: dict[int, dict[int, int]] = {}  # by number of the span: how many values in each bucket

    def add(self, value: int, now_ns: int) -> None:
        """Count a value."""
        number = now_ns // SPAN_NS
        span = self._spans.get(number)
        if span is None:
            span = self._spans[number] = {}
            self._forget(number)
        bucket = _bucket(value)
        span[bucket] = span.get(bucket, 0) + 1

    def quantiles(self, wanted: Sequence[float], now_ns: int) -> list[float]:
        """Return the value at each of `wanted` (0 to 1); not a number where there is none."""
        self._forget(now_ns // SPAN_NS)
        counts: dict[int, int] = {}
        for span in self._spans.values():
            for bucket, count in span.items():
                counts[bucket] = counts.get(bucket, 0) + count
        return [_quantile(counts, quantile) for quantile in wanted]

    def _forget(self, newest: int) -> None:
        for number in [number for number in self._spans if number <= newest - SPANS]:
            del self._spans[number]


def _bucket(value: int) -> int:
    value = max(value, 0)
    shift = max(value.bit_length() - EXACT_BITS, 0)
    return (shift << EXACT_BITS) + (value >> shift)


def _middle(bucket: int) -> float:
    shift = bucket >> EXACT_BITS
    lowest = (bucket & ((1 << EXACT_BITS) - 1)) << shift
    return lowest + ((1 << shift) - 1) / 2


def _quantile(counts: dict[int, int], quantile: float) -> float:
    rank = quantile * sum(counts.values())
    passed = 0
    for bucket in sorted(counts):
        passed += counts[bucket]
        if passed >= rank:
            return _middle(bucket)
    return float("nan")
