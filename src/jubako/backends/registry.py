"""From a backend's name in config.pbtxt to the backend. A backend is imported when a model first asks for it."""

import importlib
import importlib.util
import re
import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from jubako.backends.base import Backend, BackendOptions
from jubako.errors import InvalidArgument, Unsupported

PACKAGE: Final = "jubako.backends"
NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


class BackendRegistry:
    """The backends of one server, one object each, made on first use. Safe to use from several threads.

    The module `jubako.backends.<name>` *is* the backend `<name>`: it says so with `BACKEND`, its class. A module
    without one (this one) is no backend.
    """

    def __init__(self, options: Mapping[str, BackendOptions] | None = None) -> None:
        self._options = options or {}
        self._backends: dict[str, Backend] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def get(self, name: str) -> Backend:
        """Return the backend called `name`.

        Raises:
            InvalidArgument: there is none of that name.
            Unsupported: there is, but the package that it stands on is not installed, or cannot be imported.
        """
        backend = self._backends.get(name)
        if backend is not None:
            return backend
        with self._locks[name]:  # its own: models of a quick backend do not wait while a slow one is imported
            backend = self._backends.get(name)
            if backend is None:
                backend = backend_class(name)(self._options.get(name, BackendOptions()))
                self._backends[name] = backend
            return backend


def backend_class(name: str) -> type[Backend]:
    """Import the backend called `name` and return its class. Raises as `BackendRegistry.get` does."""
    module_name = f"{PACKAGE}.{name}"
    if not NAME.fullmatch(name) or importlib.util.find_spec(module_name) is None:
        raise InvalidArgument(_unknown(name))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise Unsupported(
            f"backend '{name}' needs the Python package '{package}', which is not installed: "
            f"run `pip install {package}`"
        ) from error
    except (ImportError, OSError) as error:  # a shared library that the package wants, say
        raise Unsupported(f"backend '{name}' cannot be imported: its Python package is installed but broken") from error
    found = getattr(module, "BACKEND", None)
    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise InvalidArgument(_unknown(name))
    return found


def _unknown(name: str) -> str:
    return f"unable to find backend library for backend '{name}', try specifying runtime on the model configuration."
