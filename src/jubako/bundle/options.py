"""Every option of `tritonserver`, its kind, and what becomes of it here.

One table for the command line (`jubako serve --http-port=8000`) and for the service's arguments
(`bentoml serve --arg http_max_input_size=…`). An option whose feature does not exist yet is *ignored* with a warning
that names it, or *refused* where going on without it would serve something else than was asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final


class Kind(Enum):
    """What an option's value is."""

    FLAG = "no value"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    FLOAT = "float"
    TEXT = "string"


class Fate(Enum):
    """What becomes of an option."""

    ARGUMENT = "an argument of the service, of the same name"
    ADDRESS = "where `jubako serve` listens"
    IGNORED = "warned about by name"
    REFUSED = "refused by name"


@dataclass(frozen=True, slots=True)
class Option:
    """One option: `name` is Triton's, with hyphens."""

    name: str
    kind: Kind
    fate: Fate
    help: str
    repeatable: bool = False

    @property
    def argument(self) -> str:
        """The option's name as an argument of the service and, in capitals after `JUBAKO_`, in the environment."""
        return self.name.replace("-", "_")


def _argument(name: str, kind: Kind, help_: str, repeatable: bool = False) -> Option:
    return Option(name, kind, Fate.ARGUMENT, help_, repeatable)


def _ignored(name: str, kind: Kind, why: str = "not built yet", repeatable: bool = False) -> Option:
    return Option(name, kind, Fate.IGNORED, why, repeatable)


def _refused(name: str, kind: Kind, why: str, repeatable: bool = False) -> Option:
    return Option(name, kind, Fate.REFUSED, why, repeatable)


_TUNING: Final = "it tunes a part of Triton that does not exist here"
_PLATFORM: Final = "SageMaker and Vertex AI routes are not served"

_BUILT: Final = (
    _argument("model-repository", Kind.TEXT, "a folder of models; may be given more than once", repeatable=True),
    _argument("id", Kind.TEXT, "the server's name in its metadata (triton)"),
    _argument("exit-on-error", Kind.BOOLEAN, "fail the start if any model fails to load (true)"),
    _argument("exit-timeout-secs", Kind.INTEGER, "seconds that requests in flight may take at the end (30)"),
    _argument("strict-readiness", Kind.BOOLEAN, "ready only once every model is ready (true)"),
    _argument("disable-auto-complete-config", Kind.FLAG, "take each config.pbtxt as it is"),
    _argument("strict-model-config", Kind.BOOLEAN, "deprecated: true is --disable-auto-complete-config"),
    _argument("model-control-mode", Kind.TEXT, "none; poll and explicit are not built yet"),
    _argument("model-load-thread-count", Kind.INTEGER, "models loaded at the same time (4)"),
    _argument("backend-config", Kind.TEXT, "<backend>,<key>=<value>, or <key>=<value> for all", repeatable=True),
    _argument("http-max-input-size", Kind.INTEGER, "bytes of the largest request body (67108864)"),
    _argument("allow-grpc", Kind.BOOLEAN, "serve gRPC (true)"),
    _argument("grpc-address", Kind.TEXT, "the address that gRPC listens at (as HTTP)"),
    _argument("grpc-port", Kind.INTEGER, "the port that gRPC listens at; 0 turns it off (8001)"),
    _argument("reuse-grpc-port", Kind.BOOLEAN, "share the port with other servers, by SO_REUSEPORT (false)"),
    _argument("grpc-use-ssl", Kind.BOOLEAN, "serve gRPC over TLS (false)"),
    _argument("grpc-use-ssl-mutual", Kind.BOOLEAN, "over TLS, to clients that show a certificate (false)"),
    _argument("grpc-server-cert", Kind.TEXT, "the server's certificate, a file in PEM"),
    _argument("grpc-server-key", Kind.TEXT, "the server's key, a file in PEM"),
    _argument("grpc-root-cert", Kind.TEXT, "who signs the clients' certificates, a file in PEM"),
    _argument("grpc-infer-response-compression-level", Kind.TEXT, "none, low, medium or high (none)"),
    *(
        _argument(f"grpc-{name}", kind, help_)
        for name, kind, help_ in (
            ("keepalive-time", Kind.INTEGER, "ms of silence before the server pings (7200000)"),
            ("keepalive-timeout", Kind.INTEGER, "ms in which a ping must be answered (20000)"),
            ("keepalive-permit-without-calls", Kind.BOOLEAN, "ping without calls, too (false)"),
            ("http2-max-pings-without-data", Kind.INTEGER, "pings in a row without data; 0 is any number (2)"),
            ("http2-min-recv-ping-interval-without-data", Kind.INTEGER, "ms between a client's pings (300000)"),
            ("http2-max-ping-strikes", Kind.INTEGER, "bad pings of a client before it is dropped; 0 is any number (2)"),
            ("max-connection-age", Kind.INTEGER, "ms after which a connection is closed (never)"),
            ("max-connection-age-grace", Kind.INTEGER, "ms that its calls then have (any)"),
        )
    ),
    _argument("allow-metrics", Kind.BOOLEAN, "show metrics at /metrics, and at the port of their own (true)"),
    _argument("allow-cpu-metrics", Kind.BOOLEAN, "show gauges of the machine's processors and memory (true)"),
    _argument("allow-gpu-metrics", Kind.BOOLEAN, "show gauges of the GPUs (true)"),
    _argument("metrics-address", Kind.TEXT, "the address that the metrics' own port listens at (as HTTP)"),
    _argument("metrics-port", Kind.INTEGER, "a port of their own for the metrics, Triton's is 8002; 0 opens none (0)"),
    _argument("metrics-interval-ms", Kind.FLOAT, "read the machine's gauges not more often than this (2000)"),
    _argument("metrics-config", Kind.TEXT, "<setting>=<value>, such as summary_latencies=true", repeatable=True),
    _argument(
        "http-restricted-api",
        Kind.TEXT,
        "<api>[,<api>...]:<key>=<value>, the value in clear, as @/file, or as $VARIABLE; may be given more than once",
        repeatable=True,
    ),
    _argument("grpc-restricted-protocol", Kind.TEXT, "the same for gRPC", repeatable=True),
    _argument("http-header-forward-pattern", Kind.TEXT, "headers that become parameters: a regular expression"),
    _argument("grpc-header-forward-pattern", Kind.TEXT, "metadata that become parameters: a regular expression"),
    _argument("cache-config", Kind.TEXT, "local,size=<bytes>: keep answers of models that ask for it", repeatable=True),
    _argument("response-cache-byte-size", Kind.INTEGER, "deprecated: N is --cache-config=local,size=N"),
    _argument("allow-client-shm", Kind.BOOLEAN, "let clients register shared memory and infer through it (false)"),
    _argument("log-verbose", Kind.INTEGER, "0, or 1 and more for debugging (0)"),
    _argument("log-info", Kind.BOOLEAN, "log what happens (true)"),
    _argument("log-warning", Kind.BOOLEAN, "log warnings (true)"),
    _argument("log-error", Kind.BOOLEAN, "log errors (true)"),
    _argument("log-format", Kind.TEXT, "default or ISO8601 (default)"),
    _argument("trace-config", Kind.TEXT, "<setting>=<value> or <mode>,<setting>=<value> (level=OFF)", repeatable=True),
    _argument("trace-file", Kind.TEXT, "deprecated: --trace-config triton,file=<path>"),
    _argument("trace-level", Kind.TEXT, "deprecated: --trace-config level=<level>", repeatable=True),
    _argument("trace-rate", Kind.INTEGER, "deprecated: --trace-config rate=<number>"),
    _argument("trace-count", Kind.INTEGER, "deprecated: --trace-config count=<number>"),
    _argument("trace-log-frequency", Kind.INTEGER, "deprecated: --trace-config triton,log-frequency=<number>"),
)
_ADDRESSES: Final = (
    Option("http-address", Kind.TEXT, Fate.ADDRESS, "the address that HTTP listens at (0.0.0.0)"),
    Option("http-port", Kind.INTEGER, Fate.ADDRESS, "the port that HTTP listens at (8000)"),
)
_IGNORED: Final = (
    _ignored("repository-poll-secs", Kind.INTEGER, "models are not polled for yet"),
    _ignored("model-load-retry-count", Kind.INTEGER),
    _ignored("enable-peer-access", Kind.BOOLEAN, _TUNING),
    _ignored("reuse-http-port", Kind.BOOLEAN),
    _ignored("http-thread-count", Kind.INTEGER, _TUNING),
    _ignored("grpc-infer-thread-count", Kind.INTEGER, _TUNING),
    _ignored("grpc-infer-allocation-pool-size", Kind.INTEGER, _TUNING),
    _ignored("grpc-max-response-pool-size", Kind.INTEGER, "what waits in a stream is bounded by bytes and by count"),
    _ignored("log-file", Kind.TEXT, "the log goes to the standard output, warnings and errors to the standard error"),
    _ignored("cache-directory", Kind.TEXT, "the one cache is built in"),
    _ignored("rate-limit", Kind.TEXT, "there is no rate limiter yet"),
    _ignored("rate-limit-resource", Kind.TEXT, "there is no rate limiter yet", repeatable=True),
    _ignored("pinned-memory-pool-byte-size", Kind.INTEGER, _TUNING),
    _ignored("cuda-memory-pool-byte-size", Kind.TEXT, _TUNING, repeatable=True),
    _ignored("cuda-virtual-address-size", Kind.TEXT, _TUNING, repeatable=True),
    _ignored("min-supported-compute-capability", Kind.FLOAT, _TUNING),
    _ignored("buffer-manager-thread-count", Kind.INTEGER, _TUNING),
    _ignored("host-policy", Kind.TEXT, repeatable=True),
    _ignored("model-load-gpu-limit", Kind.TEXT, repeatable=True),
    _ignored("backend-directory", Kind.TEXT, "backends are Python modules of this package"),
    _ignored("repoagent-directory", Kind.TEXT, "there are no repository agents"),
    _ignored("allow-sagemaker", Kind.BOOLEAN, _PLATFORM),
    _ignored("sagemaker-port", Kind.INTEGER, _PLATFORM),
    _ignored("sagemaker-safe-port-range", Kind.TEXT, _PLATFORM),
    _ignored("sagemaker-thread-count", Kind.INTEGER, _PLATFORM),
    _ignored("allow-vertex-ai", Kind.BOOLEAN, _PLATFORM),
    _ignored("vertex-ai-port", Kind.INTEGER, _PLATFORM),
    _ignored("vertex-ai-thread-count", Kind.INTEGER, _PLATFORM),
    _ignored("vertex-ai-default-model", Kind.TEXT, _PLATFORM),
    _ignored("allow-http", Kind.BOOLEAN, "HTTP is always served"),
)
_REFUSED: Final = (
    _refused("model-namespacing", Kind.BOOLEAN, "models of one name in two repositories cannot be told apart yet"),
    _refused("load-model", Kind.TEXT, "it needs the control mode explicit, which is not built yet", repeatable=True),
    _refused("model-config-name", Kind.TEXT, "custom configurations are not built yet"),
)

OPTIONS: Final[Mapping[str, Option]] = MappingProxyType(
    {option.name: option for option in (*_BUILT, *_ADDRESSES, *_IGNORED, *_REFUSED)}
)
"""By Triton's name, with hyphens."""

ALIASES: Final[Mapping[str, str]] = MappingProxyType({"model-store": "model-repository"})
"""Old spellings that `tritonserver` still takes."""
