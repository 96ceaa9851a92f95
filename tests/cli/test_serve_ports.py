"""Where `jubako serve` refuses to listen, before anything is loaded."""

import socket

from click.testing import CliRunner

from jubako.cli.serve import serve


def refusal_of(*words: str) -> str:
    result = CliRunner().invoke(serve, ["--model-repository=/nowhere", "--http-address=127.0.0.1", *words])
    assert result.exit_code == 1
    return result.stderr


def test_http_and_metrics_cannot_share_a_port() -> None:
    refused = refusal_of("--http-port=18000", "--metrics-port=18000")

    assert refused == (
        "The server cannot listen to HTTP requests and metrics requests at the same address and port 127.0.0.1:18000\n"
    )


def test_a_metrics_port_that_is_taken_ends_the_start_in_triton_s_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        refused = refusal_of("--http-port=0", f"--metrics-port={port}")

    assert refused == f"failed to start Metrics service: Unavailable - Socket '127.0.0.1:{port}' already in use \n"


def test_metrics_at_another_address_may_have_the_same_port() -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]

        refused = refusal_of(f"--http-port={port}", "--metrics-address=127.0.0.2", f"--metrics-port={port}")

    assert refused == f"failed to start Metrics service: Unavailable - Socket '127.0.0.2:{port}' already in use \n"
