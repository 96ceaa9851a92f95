"""`jubako serve`: takes `tritonserver`'s options and runs `bentoml serve` in the foreground.

Everything but the address goes to the service in one environment variable: a command line can be read by every user
of the machine, and may one day hold a token.
"""

import errno
import ipaddress
import itertools
import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

import click

from jubako.bundle.arguments import COMMAND_LINE, Arguments, settle
from jubako.bundle.translate import access_of, grpc_options_of
from jubako.cli.parsing import UsageError, Value, arguments_of, parse, usage
from jubako.cli.supervise import run
from jubako.errors import InvalidArgument

SERVICE: Final = "jubako.bundle.app:service"
DEFAULT_ADDRESS: Final = "0.0.0.0"
DEFAULT_PORT: Final = 8000
SPOKEN: Final = {"Metrics": "metrics"}
"""Services whose name is another word in Triton's message about ports."""
NO_REPOSITORY: Final = "error: creating server: Invalid argument - --model-repository must be specified"


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    short_help="Serve model repositories; the options are tritonserver's own.",
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def serve(words: tuple[str, ...]) -> None:
    """Serve model repositories; the options are tritonserver's own."""
    try:
        given = parse(words)
        if given.help:
            click.echo(usage(), nl=False)
            return
        arguments = service_arguments(given.options, Path.cwd())
        environ = {**os.environ, COMMAND_LINE: json.dumps(arguments)}
        settled = settle({}, environ)
        access_of(settled.arguments, environ)  # a secret that is not there is found here
    except (UsageError, InvalidArgument) as error:
        _fail(f"{usage()}\n{error}")
    if not settled.arguments.model_repository:
        _fail(NO_REPOSITORY)
    address, port = listening_at(given.options)
    services = {
        "HTTP": (address, port),
        **grpc_at(settled.arguments, address),
        **metrics_at(settled.arguments, address),
    }
    if shared := same_port(services):
        _fail(f"{usage()}\n{shared}")
    for service, (at, number) in services.items():
        if service == "GRPC" and settled.arguments.reuse_grpc_port:
            continue
        taken = why_not_listen(service, at, number)
        if taken is not None:
            _fail(taken)
    command = [sys.executable, "-m", "bentoml", "serve", SERVICE, "--host", address, "--port", str(port)]
    sys.exit(run(command, environ, f"{given.options.get('http-address', address)}:{port}"))


def service_arguments(options: Mapping[str, Value], folder: Path) -> dict[str, Value]:
    """Return what the service is told: the options, with paths from `folder` made absolute and Triton's defaults."""
    arguments: dict[str, Value] = {"exit_on_error": True, **arguments_of(options)}
    repositories = arguments.get("model_repository")
    if isinstance(repositories, list):
        arguments["model_repository"] = [_absolute(repository, folder) for repository in repositories]
    for name in ("grpc_server_cert", "grpc_server_key", "grpc_root_cert", "trace_file"):
        if file := arguments.get(name):
            arguments[name] = _absolute(str(file), folder)
    traces = arguments.get("trace_config")
    if isinstance(traces, list):
        arguments["trace_config"] = [_with_absolute_file(entry, folder) for entry in traces]
    return arguments


def _with_absolute_file(trace_config: str, folder: Path) -> str:
    name, _, value = trace_config.partition("=")
    return f"{name}={_absolute(value, folder)}" if name.replace(" ", "") == "triton,file" and value else trace_config


def _absolute(repository: str, folder: Path) -> str:
    return repository if "://" in repository else os.path.abspath(folder / repository)


def listening_at(options: Mapping[str, Value]) -> tuple[str, int]:
    """Return the IP address and the port to listen at; BentoML takes no host names."""
    address = str(options.get("http-address", DEFAULT_ADDRESS))
    return _numeric("HTTP", address), int(str(options.get("http-port", DEFAULT_PORT)))


def _numeric(service: str, address: str) -> str:
    """Return the IP address of a host."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        try:
            return str(socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)[0][4][0])
        except OSError:
            _fail(f"failed to start {service} service: Invalid argument - there is no address '{address}'")
    return address


def grpc_at(arguments: Arguments, http_address: str) -> dict[str, tuple[str, int]]:
    """Return the name of the gRPC service with its IP address and port, if there is one."""
    options = grpc_options_of(arguments, http_address)
    return {} if options is None else {"GRPC": (_numeric("GRPC", options.address), options.port)}


def same_port(services: Mapping[str, tuple[str, int]]) -> str | None:
    """Return Triton's message if two services want to listen at one address and port."""
    for (one, at), (other, there) in itertools.combinations(services.items(), 2):
        if at == there:
            names = f"{SPOKEN.get(one, one)} requests and {SPOKEN.get(other, other)} requests"
            return f"The server cannot listen to {names} at the same address and port {at[0]}:{at[1]}"
    return None


def metrics_at(arguments: Arguments, http_address: str) -> dict[str, tuple[str, int]]:
    """Return the name of the metrics service with its address and port, if it has a port of its own."""
    if not (arguments.allow_metrics and arguments.metrics_port):
        return {}
    return {"Metrics": (arguments.metrics_address or http_address, arguments.metrics_port)}


def why_not_listen(service: str, address: str, port: int) -> str | None:
    """Return Triton's message if nobody can listen there now, None if one can.

    Asked before anything is loaded; who takes the port in between is found by BentoML, less politely.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except (OSError, OverflowError) as error:
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                return f"failed to start {service} service: Unavailable - Socket '{address}:{port}' already in use "
            return f"failed to start {service} service: Invalid argument - cannot listen at '{address}:{port}': {error}"
    return None


def _fail(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(1)
