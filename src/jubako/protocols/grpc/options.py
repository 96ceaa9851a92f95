"""What the gRPC server can be told; names and defaults are those of tritonserver (cli.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

INT_MAX: Final = 2**31 - 1


class CompressionLevel(Enum):
    """How hard answers are compressed, with the algorithms that the client takes."""

    NONE = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM: the server's certificate and key; with `mutual`, clients must show one that `root` has signed."""

    certificate: Path
    key: Path
    root: Path | None = None
    mutual: bool = False


@dataclass(frozen=True, slots=True)
class GrpcOptions:
    """Where and how the server listens."""

    address: str = "0.0.0.0"
    port: int = 8001
    """0 takes a free one."""
    reuse_port: bool = False
    tls: Tls | None = None
    compression: CompressionLevel = CompressionLevel.NONE
    keepalive_time_ms: int = 7_200_000
    keepalive_timeout_ms: int = 20_000
    keepalive_permit_without_calls: bool = False
    http2_max_pings_without_data: int = 2
    http2_min_recv_ping_interval_without_data_ms: int = 300_000
    http2_max_ping_strikes: int = 2
    max_connection_age_ms: int | None = None
    max_connection_age_grace_ms: int | None = None
    max_receive_message_bytes: int = INT_MAX
    max_send_message_bytes: int = INT_MAX

    @property
    def target(self) -> str:
        """Address and port as gRPC writes them."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def channel_arguments(options: GrpcOptions) -> Sequence[tuple[str, int]]:
    """Return `options` as gRPC core takes them (grpc.md section 6)."""
    arguments = [
        ("grpc.so_reuseport", int(options.reuse_port)),
        ("grpc.max_receive_message_length", options.max_receive_message_bytes),
        ("grpc.max_send_message_length", options.max_send_message_bytes),
        ("grpc.keepalive_time_ms", options.keepalive_time_ms),
        ("grpc.keepalive_timeout_ms", options.keepalive_timeout_ms),
        ("grpc.keepalive_permit_without_calls", int(options.keepalive_permit_without_calls)),
        ("grpc.http2.max_pings_without_data", options.http2_max_pings_without_data),
        (
            "grpc.http2.min_ping_interval_without_data_ms",
            options.http2_min_recv_ping_interval_without_data_ms,
        ),
        ("grpc.http2.max_ping_strikes", options.http2_max_ping_strikes),
    ]
    if options.max_connection_age_ms is not None:
        arguments.append(("grpc.max_connection_age_ms", options.max_connection_age_ms))
    if options.max_connection_age_grace_ms is not None:
        arguments.append(("grpc.max_connection_age_grace_ms", options.max_connection_age_grace_ms))
    if options.compression is not CompressionLevel.NONE:
        arguments.append(("grpc.default_compression_level", options.compression.value))
    return arguments
