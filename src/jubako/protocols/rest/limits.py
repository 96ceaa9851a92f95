"""What a client may make the server hold, or wait for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the HTTP side, the same in both lanes."""

    max_input_size: int = 64 * 2**20
    """Bytes of JSON, of a JSON tensor once expanded, of a raw or a decompressed body (`--http-max-input-size`)."""
    max_body_size: int = 2 * 2**30
    """Bytes of a whole body, binary tensors included; more is refused at the headers."""
    max_head_size: int = 64 * 2**10
    """Bytes of request line and headers."""
    max_tensors: int = 4096
    """Inputs, or outputs, named in one request."""
    head_timeout_s: float = 30.0
    """Time to complete the headers."""
    body_grace_s: float = 30.0
    """Time before the rate of a body is looked at."""
    min_body_rate: int = 1024
    """Bytes per second that a body must come at, on average, after the grace."""
    max_connections: int = 16384
    """Open connections; more are answered 503 and closed."""
    max_chunks: int = 65536
    """Non-empty chunks of a chunked body."""
