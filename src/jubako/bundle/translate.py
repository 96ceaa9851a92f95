"""From the service's arguments to the options of the layers below."""

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jubako import backends
from jubako.backends.base import BackendOptions
from jubako.bundle.arguments import Arguments
from jubako.bundle.memory import usable_bytes
from jubako.errors import InvalidArgument
from jubako.loading import LoadOptions
from jubako.log_settings import LogSettings
from jubako.metrics.options import MetricsOptions, parse_metrics_config
from jubako.protocols.access import METADATA_PREFIX, AccessRules
from jubako.protocols.forwarding import Forwarding
from jubako.protocols.grpc.options import CompressionLevel, GrpcOptions, Tls
from jubako.protocols.rest.limits import Limits
from jubako.protocols.restrictions import rules_of
from jubako.runner import RunnerOptions
from jubako.schedulers.cache import ResponseCache
from jubako.schedulers.in_flight import InFlight
from jubako.server import ServerOptions
from jubako.tracing.options import TraceOptions, parse_trace_config
from jubako.tracing.output import check_output

DEFAULT_MAX_BATCH_SIZE = "default-max-batch-size"


def limits_of(arguments: Arguments) -> Limits:
    """Return the bounds of the HTTP side."""
    return Limits(
        max_input_size=arguments.http_max_input_size,
        max_body_size=arguments.http_max_body_size,
        max_head_size=arguments.http_max_head_size,
        max_tensors=arguments.http_max_tensors,
        head_timeout_s=arguments.http_head_timeout_secs,
        body_grace_s=arguments.http_body_grace_secs,
        min_body_rate=arguments.http_min_body_rate,
        max_connections=arguments.http_max_connections,
        max_chunks=arguments.http_max_chunks,
    )


def grpc_options_of(arguments: Arguments, http_address: str) -> GrpcOptions | None:
    """Return where and how gRPC is served; None where it is not."""
    if not (arguments.allow_grpc and arguments.grpc_port):
        return None
    return GrpcOptions(
        address=arguments.grpc_address or http_address,
        port=arguments.grpc_port,
        reuse_port=arguments.reuse_grpc_port,
        tls=_tls_of(arguments),
        compression=CompressionLevel[arguments.grpc_infer_response_compression_level.upper()],
        keepalive_time_ms=arguments.grpc_keepalive_time,
        keepalive_timeout_ms=arguments.grpc_keepalive_timeout,
        keepalive_permit_without_calls=arguments.grpc_keepalive_permit_without_calls,
        http2_max_pings_without_data=arguments.grpc_http2_max_pings_without_data,
        http2_min_recv_ping_interval_without_data_ms=arguments.grpc_http2_min_recv_ping_interval_without_data,
        http2_max_ping_strikes=arguments.grpc_http2_max_ping_strikes,
        max_connection_age_ms=arguments.grpc_max_connection_age,
        max_connection_age_grace_ms=arguments.grpc_max_connection_age_grace,
        max_receive_message_bytes=arguments.grpc_max_receive_message_bytes,
        max_send_message_bytes=arguments.grpc_max_send_message_bytes,
    )


def _tls_of(arguments: Arguments) -> Tls | None:
    if not arguments.grpc_encrypted:
        return None
    return Tls(
        certificate=Path(arguments.grpc_server_cert),
        key=Path(arguments.grpc_server_key),
        root=Path(arguments.grpc_root_cert) if arguments.grpc_root_cert else None,
        mutual=arguments.grpc_use_ssl_mutual,
    )


def server_options_of(arguments: Arguments, gpus: list[int]) -> ServerOptions:
    """Return what the server is told; `gpus` are the ids of those it may use.

    Raises:
        InvalidArgument: a setting does not fit.
    """
    metrics = parse_metrics_config(arguments.metrics_config)
    return ServerOptions(
        server_id=arguments.id,
        strict_readiness=arguments.strict_readiness,
        extensions=_extensions_of(arguments, gpus),
        load=LoadOptions(
            auto_complete=arguments.auto_complete,
            gpu_fallback=arguments.gpu_fallback == "cpu",
            model_load_thread_count=arguments.model_load_thread_count,
            backends=backend_options_of(arguments),
            gpus=gpus,
            runner=RunnerOptions(
                max_queue_size=arguments.max_queue_size,
                in_flight=InFlight(
                    arguments.max_inflight_requests, arguments.max_inflight_bytes or usable_bytes() // 2
                ),
                run_in_loop=arguments.run_in_loop,
                summaries=arguments.allow_metrics and metrics.summary_latencies,
                first_responses=arguments.allow_metrics and metrics.histogram_latencies,
                cache=ResponseCache(arguments.cache_bytes) if arguments.cache_bytes else None,
            ),
        ),
    )


def metrics_options_of(arguments: Arguments) -> MetricsOptions:
    """Return what a page of metrics shows.

    Raises:
        InvalidArgument: a setting of `metrics_config` does not fit.
    """
    return MetricsOptions(
        config=parse_metrics_config(arguments.metrics_config),
        cpu=arguments.allow_cpu_metrics,
        gpu=arguments.allow_gpu_metrics,
        interval_s=arguments.metrics_interval_ms / 1000,
    )


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call what over each protocol, and what of their headers goes on to the model."""

    http: AccessRules
    grpc: AccessRules
    http_forwarding: Forwarding
    grpc_forwarding: Forwarding


def access_of(arguments: Arguments, environ: Mapping[str, str]) -> Access:
    """Return the rules with their secrets, from where those are.

    Raises:
        InvalidArgument: a secret is not there.
    """
    http = rules_of(arguments.http_restrictions, environ)
    grpc = rules_of(arguments.grpc_restrictions, environ)
    metadata = {f"{METADATA_PREFIX}{name}" for name in grpc.names}
    return Access(
        http,
        grpc,
        Forwarding(arguments.http_header_forward_pattern, http.names),
        Forwarding(arguments.grpc_header_forward_pattern, metadata),
    )


def _extensions_of(arguments: Arguments, gpus: list[int]) -> set[str]:
    extensions = {"trace", "logging"}
    if arguments.allow_client_shm:
        extensions.add("system_shared_memory")
        if gpus:
            extensions.add("cuda_shared_memory")
    return extensions


def backend_options_of(arguments: Arguments) -> dict[str, BackendOptions]:
    """Return the options of each backend: the settings for all of them, and its own over those.

    Raises:
        InvalidArgument: the default batch size is not a number.
    """
    given = arguments.backend_settings
    names = {module.name for module in pkgutil.iter_modules(backends.__path__)} | set(given)
    return {name: _backend_options({**given.get("", {}), **given.get(name, {})}) for name in names if name}


def _backend_options(settings: dict[str, str]) -> BackendOptions:
    size = settings.get(DEFAULT_MAX_BATCH_SIZE)
    if size is None:
        return BackendOptions(settings=settings)
    if not size.isdecimal():
        raise InvalidArgument(f"--backend-config: {DEFAULT_MAX_BATCH_SIZE} is not a number: {size}")
    return BackendOptions(default_max_batch_size=int(size), settings=settings)


def log_settings_of(arguments: Arguments) -> LogSettings:
    """Return what is logged from the start on."""
    return LogSettings(
        info=arguments.log_info,
        warning=arguments.log_warning,
        error=arguments.log_error,
        verbose_level=arguments.log_verbose,
        format=arguments.log_format,
    )


def trace_options_of(arguments: Arguments, environ: Mapping[str, str]) -> TraceOptions:
    """Return what is traced from the start on; OpenTelemetry's own variables are in `environ`.

    Raises:
        InvalidArgument: a setting does not fit, or needs a package that is not installed.
    """
    old = {
        "triton,file": arguments.trace_file or None,
        "rate": arguments.trace_rate,
        "count": arguments.trace_count,
        "triton,log-frequency": arguments.trace_log_frequency,
    }
    entries = [f"{name}={value}" for name, value in old.items() if value is not None]
    entries += [f"level={level}" for level in arguments.trace_level]
    options = parse_trace_config([*entries, *arguments.trace_config], environ)
    check_output(options)
    return options
