"""What a Bento of this service needs installed: the package's requirements, less the backends it has no use for.

Locked versions would come from uv, which resolves torch to its CUDA wheels; so the ranges go in as they are, and
whoever builds the image chooses the index.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from importlib import metadata
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bentoml.images import Image

PACKAGES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {"onnxruntime": frozenset({"onnxruntime", "onnxruntime-gpu"}), "pytorch": frozenset({"torch"})}
)
"""The packages that only one backend needs."""
NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


def requirements_for(backends: Collection[str], declared: Sequence[str]) -> list[str]:
    """Return the requirements of `declared` that a Bento with models of `backends` needs.

    Extras are for development, and BentoML adds itself. A Bento without models keeps every backend.
    """
    wanted = set(backends) or set(PACKAGES)
    unused = frozenset({"bentoml"}).union(*(names for backend, names in PACKAGES.items() if backend not in wanted))
    return [line for line in declared if not _extra(line) and _name(line) not in unused]


def _extra(requirement: str) -> bool:
    return "extra ==" in requirement.partition(";")[2]


def _name(requirement: str) -> str:
    found = NAME.match(requirement)
    return found[0].lower().replace("_", "-") if found else ""


def image_for(backends: Collection[str]) -> "Image | None":
    """Return the image that a Bento with models of `backends` is to run in; None where jubako itself is in a Bento."""
    try:
        declared = metadata.requires("jubako") or []
    except metadata.PackageNotFoundError:
        return None
    from bentoml.images import Image

    image: Image = Image(python_version="3.11", lock_python_packages=False)
    return image.python_packages(*requirements_for(backends, declared))
