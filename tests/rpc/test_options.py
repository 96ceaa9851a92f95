"""What the server is told becomes what gRPC core is told."""

from typing import Any

import pytest

from jubako.protocols.grpc.options import CompressionLevel, GrpcOptions, channel_arguments

DEFAULTS = {
    "grpc.so_reuseport": 0,
    "grpc.max_receive_message_length": 2**31 - 1,
    "grpc.max_send_message_length": 2**31 - 1,
    "grpc.keepalive_time_ms": 7_200_000,
    "grpc.keepalive_timeout_ms": 20_000,
    "grpc.keepalive_permit_without_calls": 0,
    "grpc.http2.max_pings_without_data": 2,
    "grpc.http2.min_ping_interval_without_data_ms": 300_000,
    "grpc.http2.max_ping_strikes": 2,
}


def test_the_defaults_are_tritons() -> None:
    assert dict(channel_arguments(GrpcOptions())) == DEFAULTS


@pytest.mark.parametrize(
    ("option", "value", "argument", "told"),
    [
        ("reuse_port", True, "grpc.so_reuseport", 1),
        ("keepalive_time_ms", 5, "grpc.keepalive_time_ms", 5),
        ("keepalive_timeout_ms", 5, "grpc.keepalive_timeout_ms", 5),
        ("keepalive_permit_without_calls", True, "grpc.keepalive_permit_without_calls", 1),
        ("http2_max_pings_without_data", 5, "grpc.http2.max_pings_without_data", 5),
        (
            "http2_min_recv_ping_interval_without_data_ms",
            5,
            "grpc.http2.min_ping_interval_without_data_ms",
            5,
        ),
        ("http2_max_ping_strikes", 5, "grpc.http2.max_ping_strikes", 5),
        ("max_connection_age_ms", 5, "grpc.max_connection_age_ms", 5),
        ("max_connection_age_grace_ms", 5, "grpc.max_connection_age_grace_ms", 5),
        ("max_receive_message_bytes", 5, "grpc.max_receive_message_length", 5),
        ("max_send_message_bytes", 5, "grpc.max_send_message_length", 5),
        ("compression", CompressionLevel.HIGH, "grpc.default_compression_level", 3),
    ],
)
def test_each_option_is_passed_on(option: str, value: Any, argument: str, told: int) -> None:
    options = GrpcOptions(**{option: value})

    assert dict(channel_arguments(options)) == {**DEFAULTS, argument: told}


@pytest.mark.parametrize(("address", "target"), [("0.0.0.0", "0.0.0.0:8001"), ("::1", "[::1]:8001")])
def test_an_address_is_written_as_grpc_reads_it(address: str, target: str) -> None:
    assert GrpcOptions(address).target == target
