"""The BentoML tag of a model version.

A tag's name and version are at most 63 characters of `[a-z0-9._-]`, a letter or digit at both ends. A model's name is
any folder name. So the tag's name is the model's own where that is possible, and otherwise something readable with a
hash of the true name behind it; the tag's version is the model's version and the start of its digest.
"""

import hashlib
import re
import unicodedata

LONGEST = 63  # BentoML's limit
HASH_DIGITS = 10
DIGEST_DIGITS = 16  # as long as BentoML's own versions: `bentoml models list` cuts longer ones off; not trusted alone

_TAG = re.compile(r"[a-z0-9]([-._a-z0-9]*[a-z0-9])?")
_HASHED = re.compile(rf".*-[0-9a-f]{{{HASH_DIGITS}}}")
_FOREIGN = re.compile(r"[^a-z0-9._]+")


def tag_name(model: str) -> str:
    """Return the tag name of `model`; two models never share one.

    A name that only looks as if we had hashed it is hashed too: otherwise a model could be called what another one's
    tag is called.
    """
    if len(model) <= LONGEST and _TAG.fullmatch(model) and not _HASHED.fullmatch(model):
        return model
    hashed = hashlib.sha256(model.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_DIGITS]
    return f"{_readable(model, LONGEST - HASH_DIGITS - 1)}-{hashed}"


def tag_version(version: int, digest: str) -> str:
    """Return the tag version of a model's `version` with the content `digest` (hexadecimal)."""
    return f"{version}-{digest[:DIGEST_DIGITS]}"


def _readable(model: str, longest: int) -> str:
    plain = unicodedata.normalize("NFKD", model).encode("ascii", "ignore").decode().lower()
    return _FOREIGN.sub("-", plain)[:longest].strip("-._") or "model"
