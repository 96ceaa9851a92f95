"""The response cache's size, as `--cache-config` and its older form say it. Pure."""

from collections.abc import Sequence
from typing import Final

from jubako.errors import InvalidArgument

LOCAL: Final = "local"
"""The one cache that there is, in this process' memory; Triton's name for its own such."""
SIZE: Final = "size"


def cache_bytes(entries: Sequence[str], byte_size: int | None) -> int:
    """Return the size that `<cache>,<key>=<value>` entries, or `response_cache_byte_size`, ask for; 0 for no cache.

    Raises:
        InvalidArgument: both are given, or an entry does not fit; Triton's words where it has some.
    """
    if not entries:
        return byte_size or 0
    if byte_size is not None:
        raise InvalidArgument(
            "Incompatible flags --response-cache-byte-size and --cache-config both provided. Please provide one or "
            "the other."
        )
    parsed = [_parse(entry) for entry in entries]
    caches = {cache for cache, _, _ in parsed}
    if len(caches) > 1:
        raise InvalidArgument("found multiple cache configurations, but only a single cache is currently supported")
    if caches != {LOCAL}:
        raise InvalidArgument(f"--cache-config: there is no cache '{caches.pop()}', only '{LOCAL}'")
    settings = {key: value for _, key, value in parsed}
    size = settings.pop(SIZE, "")
    if settings:
        raise InvalidArgument(
            f"--cache-config: the cache '{LOCAL}' has no setting '{next(iter(settings))}', only 'size'"
        )
    if not (size.isascii() and size.isdecimal() and int(size)):
        raise InvalidArgument("Failed to initialize LocalCache: config didn't contain a valid 'size' field.")
    return int(size)


def _parse(entry: str) -> tuple[str, str, str]:
    cache, comma, setting = (part.strip() for part in entry.partition(","))
    key, equals, value = (part.strip() for part in setting.partition("="))
    if not (cache and comma and key and equals and value):
        raise InvalidArgument(f"--cache-config option format is '<cache name>,<setting>=<value>'. Got {entry}")
    return cache, key, value
