"""What can go wrong, one class per Triton status.

```
JubakoError
├── InvalidArgument   the request or the configuration is wrong: name, datatype, shape
├── NotFound          no such model, version or output
├── AlreadyExists     the name is taken
├── Unavailable       not ready, queue full, waited too long, shutting down
│   └── Exhausted     the whole server has as much to do as it may
├── Unsupported       well-formed, but not done here
├── Cancelled         the caller left
└── Internal          the backend or the server broke (and, as in Triton, JSON that does not parse)
```

Nothing here knows HTTP or gRPC: each protocol keeps one table from class to status. `str(error)` is the text that
clients see, word for word, so it never carries a path, a traceback or an environment value.
"""

from typing import ClassVar


class JubakoError(Exception):
    """An error that a client may see. Its text is the message on the wire."""

    code: ClassVar[str] = "Unknown"  #: Triton's own word for the status, as it stands in load errors


class InvalidArgument(JubakoError):
    """The request, or a model's configuration, is wrong."""

    code = "Invalid argument"


class NotFound(JubakoError):
    """No such model, version, output or route."""

    code = "Not found"


class AlreadyExists(JubakoError):
    """The name is taken."""

    code = "Already exists"


class Unavailable(JubakoError):
    """Not ready, queue full, waited too long, or shutting down: trying again later may work."""

    code = "Unavailable"


class Exhausted(Unavailable):
    """The whole server has as much to do as it may: trying again in a moment may work."""


class Unsupported(JubakoError):
    """Well-formed, but not done here."""

    code = "Unsupported"


class Cancelled(JubakoError):
    """The caller left before its answer."""

    code = "<invalid code>"  # what Triton prints for this status


class Internal(JubakoError):
    """The backend or the server broke; the cause stays in `__cause__` and in the log."""

    code = "Internal"
