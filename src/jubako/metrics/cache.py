"""The response cache, as gauges: Triton's, all of them since the server's start. Pure."""

from jubako.metrics.text import Family, Kind
from jubako.schedulers.cache import ResponseCache


def cache_families(cache: ResponseCache) -> list[Family]:
    """Return the families of the server's cache."""
    gauges = (
        ("nv_cache_util", "Part of the cache that is used, 0 to 1", cache.used_bytes / cache.max_bytes),
        ("nv_cache_num_entries", "Answers in the cache", len(cache)),
        ("nv_cache_num_lookups", "Answers looked for in the cache", cache.lookup.count),
        ("nv_cache_num_hits", "Answers found in the cache", cache.hits),
        ("nv_cache_num_misses", "Answers looked for in vain", cache.misses),
        ("nv_cache_num_evictions", "Answers dropped to make room for others", cache.evictions),
        ("nv_cache_lookup_duration", "Microseconds of looking for answers, summed", cache.lookup.ns // 1000),
        ("nv_cache_insertion_duration", "Microseconds of keeping answers, summed", cache.insertion.ns // 1000),
    )
    families = []
    for name, help_, value in gauges:
        family = Family(name, Kind.GAUGE, help_)
        family.add({}, value)
        families.append(family)
    return families
