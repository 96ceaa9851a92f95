"""Which span of its caller a request belongs to, by its headers (W3C Trace Context)."""

from jubako.protocols.rest.gate import Headers


def callers_trace(headers: Headers) -> tuple[str | None, str | None]:
    """Return `traceparent` and `tracestate`, as they came."""
    parent: str | None = None
    state: str | None = None
    for name, value in headers:
        if name == b"traceparent":
            parent = value.decode("latin-1")
        elif name == b"tracestate":  # it may come in several parts
            part = value.decode("latin-1")
            state = part if state is None else f"{state},{part}"
    return parent, state
