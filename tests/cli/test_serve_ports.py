"""Where `jubako serve` refuses to listen, before anything is loaded."""

import socket

import pytest
from click.testing import CliRunner

from jubako.cli.serve import serve


def refusal_of(*words: str) -> str:
    """The last line that it says before it ends with 1."""
    result = CliRunner().invoke(serve, ["--model-repository=/nowhere", "--http-address=127.0.0.1", *words])
    assert result.exit_code == 1
    return result.stderr.splitlines(keepends=True)[-1]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--grpc-port=0", "--metrics-port=18000"), "HTTP requests and metrics requests"),
        (("--grpc-port=18000", "--grpc-address=127.0.0.1"), "HTTP requests and GRPC requests"),
    ],
)
def test_two_services_cannot_share_a_port(words: tuple[str, ...], names: str) -> None:
    refused = refusal_of("--http-port=18000", *words)

    assert refused == f"The server cannot listen to {names} at the same address and port 127.0.0.1:18000\n"


@pytest.mark.parametrize(("option", "service"), [("--metrics-port", "Metrics"), ("--grpc-port", "GRPC")])
def test_a_port_that_is_taken_ends_the_start_in_triton_s_words(option: str, service: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        refused = refusal_of("--http-port=0", "--grpc-port=0", f"{option}={port}")

    assert refused == f"failed to start {service} service: Unavailable - Socket '127.0.0.1:{port}' already in use \n"


def test_metrics_at_another_address_may_have_the_same_port() -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]

        refused = refusal_of(
            f"--http-port={port}", "--grpc-port=0", "--metrics-address=127.0.0.2", f"--metrics-port={port}"
        )

    assert refused == f"failed to start Metrics service: Unavailable - Socket '127.0.0.2:{port}' already in use \n"
