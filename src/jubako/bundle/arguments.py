"""The service's arguments: what they are, where each value came from, and what is wrong with them.

The names are `tritonserver`'s with underscores. A value comes from, in this order:

1. the command line of `jubako serve`, which arrives as one JSON object in `JUBAKO_COMMAND_LINE`;
2. an environment variable, `JUBAKO_` and the name in capitals;
3. `bentoml serve --arg name=value`, or what a Bento was built with (a Bento's own replace every `--arg`: that is why
   the environment stands above them);
4. the default.

Pure: the environment is handed in.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from jubako.bundle.cache_config import cache_bytes
from jubako.bundle.options import ALIASES, OPTIONS, Fate
from jubako.errors import InvalidArgument
from jubako.metrics.options import parse_metrics_config
from jubako.protocols.forwarding import Forwarding
from jubako.protocols.restrictions import Dialect, Restriction, parse, parse_all

PREFIX: Final = "JUBAKO_"
COMMAND_LINE: Final = "JUBAKO_COMMAND_LINE"
DEFAULT: Final = "default"
INTERNAL_PREFIX: Final = "JUBAKO_INTERNAL_"
"""Variables by which one process of the server tells another something; never arguments."""


def _listed(value: object) -> object:
    """Split a JSON list or a comma list; `--arg` and the environment have no other way to repeat an option."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("["):
        try:
            return json.loads(text)
        except ValueError as error:
            raise ValueError(f"is not a JSON list: {error}") from None
    return [part.strip() for part in text.split(",") if part.strip()]


def _settings(value: object) -> object:
    """Split settings that have commas of their own, as `<backend>,<key>=<value>`: a JSON list, or by semicolons."""
    if isinstance(value, str) and not value.strip().startswith("["):
        return [part.strip() for part in value.split(";") if part.strip()]
    return _listed(value)


INT_MAX: Final = 2**31 - 1
Int32 = Annotated[int, Field(ge=0, le=INT_MAX)]
Listed = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Settings = Annotated[tuple[str, ...], BeforeValidator(_settings)]


class Arguments(BaseModel):
    """Everything that the service can be told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_repository: Listed = ()
    """Folders of models. Empty: the folder `repository` beside service.py if there is one; in a Bento, its models."""
    id: str = "triton"
    exit_on_error: bool = False
    """End the server if any model fails to load. `jubako serve` sets it, as `tritonserver` does."""
    exit_timeout_secs: Annotated[int, Field(ge=0)] = 30
    strict_readiness: bool = True
    disable_auto_complete_config: bool = False
    strict_model_config: bool = False
    model_control_mode: Literal["none"] = "none"
    model_load_thread_count: PositiveInt = 4
    backend_config: Settings = ()
    """`<backend>,<key>=<value>`, or `<key>=<value>` for all backends."""
    gpu_fallback: Literal["none", "cpu"] = "none"
    """Where a KIND_GPU instance goes on a machine without a GPU; with `none` its model fails to load."""
    run_in_loop: bool = True
    """Let executions that are shorter than a thread's hop run without one."""
    max_queue_size: PositiveInt = 4096
    """Requests that may wait for one model version where its configuration sets no limit."""
    max_inflight_requests: PositiveInt = 65536
    """Requests that may be queued or running, of all models together."""
    max_inflight_bytes: Annotated[int, Field(ge=0)] = 0
    """Bytes of the inputs of those requests; 0 is half of the memory that the process may use."""
    http_max_input_size: PositiveInt = 64 << 20
    """Bytes of JSON, of a raw body, or of a body once decompressed."""
    http_max_body_size: PositiveInt = 2 << 30
    """Bytes of a whole body, binary tensors included."""
    http_max_head_size: PositiveInt = 64 << 10
    """Bytes of the request line and the headers together."""
    http_max_tensors: PositiveInt = 4096
    """Inputs, or outputs, named in one request."""
    http_max_chunks: PositiveInt = 65536
    """Chunks of a chunked body."""
    http_max_connections: PositiveInt = 16384
    http_head_timeout_secs: PositiveFloat = 30.0
    """Seconds in which the headers of a request must have come."""
    http_body_grace_secs: PositiveFloat = 30.0
    """Seconds before the rate of a body is looked at."""
    http_min_body_rate: Annotated[int, Field(ge=0)] = 1024
    """Bytes per second that a body must come with after that; 0 lets it come as it likes."""
    http_fast_lane: bool = True
    """Answer inference inside uvicorn's protocol; without it every request takes the slower way of ASGI."""
    http_header_forward_pattern: str = ""
    """A regular expression: headers that it matches become parameters of the request. Empty: none."""
    grpc_header_forward_pattern: str = ""
    """The same for gRPC's metadata."""
    allow_grpc: bool = True
    grpc_address: str = ""
    """Empty: where HTTP listens."""
    grpc_port: Annotated[int, Field(ge=0, le=65535)] = 8001
    """0 serves no gRPC. A start fails where the port is taken, if it was asked for by number."""
    reuse_grpc_port: bool = False
    grpc_use_ssl: bool = False
    grpc_use_ssl_mutual: bool = False
    """TLS, and clients must show a certificate; it stands for `grpc_use_ssl`, too."""
    grpc_server_cert: str = ""
    """Files in PEM."""
    grpc_server_key: str = ""
    grpc_root_cert: str = ""
    grpc_infer_response_compression_level: Literal["none", "low", "medium", "high"] = "none"
    grpc_keepalive_time: Int32 = 7_200_000
    """Milliseconds, as all that follow."""
    grpc_keepalive_timeout: Int32 = 20_000
    grpc_keepalive_permit_without_calls: bool = False
    grpc_http2_max_pings_without_data: Int32 = 2
    grpc_http2_min_recv_ping_interval_without_data: Int32 = 300_000
    grpc_http2_max_ping_strikes: Int32 = 2
    grpc_max_connection_age: Int32 | None = None
    grpc_max_connection_age_grace: Int32 | None = None
    grpc_max_receive_message_bytes: Int32 = INT_MAX
    grpc_max_send_message_bytes: Int32 = INT_MAX
    restricted_api: Settings = ()
    """`<api>[,<api>…]:<key>=<secret>` for both protocols; the secret is `@/file` or `$VARIABLE` (docs/access.md)."""
    http_restricted_api: Settings = ()
    grpc_restricted_protocol: Settings = ()
    allow_client_shm: bool = False
    """Let clients register shared memory, of the host or of a GPU, and have tensors in it."""
    cache_config: Settings = ()
    """`local,size=<bytes>`: keep answers of models whose configuration says `response_cache { enable: true }`."""
    response_cache_byte_size: Annotated[int, Field(ge=0)] | None = None
    """The older form of it."""
    allow_metrics: bool = True
    """Show metrics: on BentoML's page, and at `metrics_port`."""
    allow_cpu_metrics: bool = True
    allow_gpu_metrics: bool = True
    metrics_address: str = ""
    """Empty: where HTTP listens."""
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """A port of their own for the metrics; 0 opens none."""
    metrics_interval_ms: Annotated[float, Field(ge=0)] = 2000.0
    metrics_config: Settings = ()
    """`<setting>=<value>`, as `--metrics-config`."""
    log_verbose: Annotated[int, Field(ge=0)] = 0
    log_info: bool = True
    log_warning: bool = True
    log_error: bool = True
    log_format: Literal["default", "ISO8601"] = "default"
    log_json: bool = False
    """Each line of the log is a JSON object, BentoML's and uvicorn's too."""
    trace_config: Settings = ()
    """`<setting>=<value>` or `<mode>,<setting>=<value>`, as `--trace-config` (docs/observability.md)."""
    trace_file: str = ""
    """This and the next four are what there was before `trace_config`, which stands above them."""
    trace_level: Listed = ()
    trace_rate: int | None = None
    trace_count: int | None = None
    trace_log_frequency: int | None = None
    topology: Literal["embedded"] = "embedded"
    workers: Annotated[int, Field(ge=1, le=1)] = 1

    @property
    def auto_complete(self) -> bool:
        """Whether a missing or partial config.pbtxt is completed from the model's file."""
        return not (self.disable_auto_complete_config or self.strict_model_config)

    @property
    def backend_settings(self) -> Mapping[str, Mapping[str, str]]:
        """The settings of each backend; those for all of them stand under the empty name."""
        settings: dict[str, dict[str, str]] = {}
        for entry in self.backend_config:
            backend, key, value = parse_backend_config(entry)
            settings.setdefault(backend, {})[key] = value
        return settings

    @property
    def cache_bytes(self) -> int:
        """Bytes of answers that are kept; 0 for none."""
        return cache_bytes(self.cache_config, self.response_cache_byte_size)

    @property
    def grpc_encrypted(self) -> bool:
        """Whether gRPC is served over TLS."""
        return self.grpc_use_ssl or self.grpc_use_ssl_mutual

    @property
    def http_restrictions(self) -> Sequence[Restriction]:
        """Which categories need which key over HTTP."""
        return parse_all({Dialect.BOTH: self.restricted_api, Dialect.HTTP: self.http_restricted_api})

    @property
    def grpc_restrictions(self) -> Sequence[Restriction]:
        """Which categories need which key over gRPC."""
        return parse_all({Dialect.BOTH: self.restricted_api, Dialect.GRPC: self.grpc_restricted_protocol})


SECRETS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {
        "restricted_api": Dialect.BOTH,
        "http_restricted_api": Dialect.HTTP,
        "grpc_restricted_protocol": Dialect.GRPC,
    }
)
"""Arguments that may hold secrets: their values are shown without."""


@dataclass(frozen=True, slots=True)
class NotBuilt:
    """Values that are known, and refused for now."""

    values: frozenset[str]
    why: str


NOT_BUILT: Final[Mapping[str, NotBuilt]] = MappingProxyType(
    {
        "model_control_mode": NotBuilt(frozenset({"poll", "explicit"}), "not built yet; only 'none' is"),
        "topology": NotBuilt(frozenset({"services"}), "not built yet; only 'embedded' is"),
        "workers": NotBuilt(
            frozenset(map(str, range(2, 1025))),
            "not built yet; each worker would have queues, counts and models of its own",
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Settled:
    """The arguments, and where each value came from."""

    arguments: Arguments
    sources: Mapping[str, str]
    """By name, one for each field."""
    warnings: tuple[str, ...] = ()
    """One sentence for each option that was given and is ignored."""

    def lines(self) -> Iterable[str]:
        """Yield a line for each value that was set, with who set it, and one line for all that were not."""
        defaults = []
        for name in Arguments.model_fields:
            shown = f"{name}={json.dumps(_without_secrets(name, getattr(self.arguments, name)))}"
            if self.sources[name] == DEFAULT:
                defaults.append(shown)
            else:
                yield f"{shown} ({self.sources[name]})"
        yield f"{', '.join(defaults)} ({DEFAULT})"


def _without_secrets(name: str, value: Any) -> Any:
    """Return a value as it may be logged."""
    return [str(parse(entry, SECRETS[name])) for entry in value] if name in SECRETS else value


def parse_backend_config(entry: str) -> tuple[str, str, str]:
    """Return backend, key and value of `<backend>,<key>=<value>`; the backend of `<key>=<value>` is the empty name.

    Raises:
        InvalidArgument: neither of the two forms.
    """
    backend, comma, setting = entry.rpartition(",")
    key, equals, value = setting.partition("=")
    if not equals or not key.strip() or (comma and not backend.strip()):
        raise InvalidArgument(
            f"--backend-config option format is '<backend name>,<setting>=<value>' or '<setting>=<value>'. Got {entry}"
        )
    return backend.strip(), key.strip(), value.strip()


def settle(given: Mapping[str, object], environ: Mapping[str, str]) -> Settled:
    """Return the arguments that hold, given those of BentoML (`given`) and the environment.

    Raises:
        InvalidArgument: an unknown name, a value that does not fit, or something that is not built; the text names
            the argument and who set it.
    """
    values: dict[str, object] = {}
    sources = dict.fromkeys(Arguments.model_fields, DEFAULT)
    warnings: list[str] = []
    for layer, source, spelling in (
        (given, "argument", "--arg {}"),
        (_from_environment(environ), "environment", "environment variable JUBAKO_{}"),
        (_from_command_line(environ), "command line", "--{}"),
    ):
        for spelled, value in layer.items():
            name = _canonical(spelled)
            shown = spelling.format(_shown(spelled, source))
            if name in Arguments.model_fields:
                values[name] = value
                sources[name] = source
            else:
                warnings.append(_warn_or_refuse(name, shown))
    arguments = _validated(values, sources)
    warnings += _about_access(arguments, sources)
    return Settled(arguments, MappingProxyType(sources), tuple(warnings))


def _about_access(arguments: Arguments, sources: Mapping[str, str]) -> Iterable[str]:
    """Yield a sentence for each way around the rules, or to their secrets, that was probably not meant."""
    http, grpc = (
        {group: None for restriction in restrictions for group in restriction.groups}
        for restrictions in (arguments.http_restrictions, arguments.grpc_restrictions)
    )
    both = arguments.allow_grpc and arguments.grpc_port
    for ours, theirs, here, there in ((http, grpc, "HTTP", "gRPC"), (grpc, http, "gRPC", "HTTP")):
        if both and (open_there := [group.value for group in ours if group not in theirs]):
            yield f"restricted over {here} and open over {there}: {', '.join(open_there)}; restricted_api is for both"
    for name, dialect in SECRETS.items():
        for entry in getattr(arguments, name):
            restriction = parse(entry, dialect)
            if restriction.literal and sources[name] in {"argument", "command line"}:
                yield (
                    f"the secret of {name}={restriction} was given in clear, where other users may read it; "
                    f"give it as {restriction.key}=@/path/of/a/file or as {restriction.key}=$VARIABLE"
                )


def _canonical(spelled: str) -> str:
    hyphened = spelled.lower().replace("_", "-")
    return ALIASES.get(hyphened, hyphened).replace("-", "_")


def _shown(spelled: str, source: str) -> str:
    match source:
        case "environment":
            return spelled.upper()
        case "command line":
            return spelled.replace("_", "-")
        case _:
            return spelled


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    return {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(PREFIX) and name != COMMAND_LINE and not name.startswith(INTERNAL_PREFIX)
    }


def _from_command_line(environ: Mapping[str, str]) -> dict[str, object]:
    text = environ.get(COMMAND_LINE)
    if text is None:
        return {}
    try:
        options = json.loads(text)
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise InvalidArgument(f"environment variable {COMMAND_LINE}: is not a JSON object")
    return options


def _warn_or_refuse(name: str, shown: str) -> str:
    option = OPTIONS.get(name.replace("_", "-"))
    if option is None:
        raise InvalidArgument(f"{shown}: there is no such argument; known are {', '.join(Arguments.model_fields)}")
    match option.fate:
        case Fate.IGNORED:
            return f"{shown} is ignored: {option.help}"
        case Fate.ADDRESS:
            return f"{shown} is ignored: where `bentoml serve` listens is told by its --host and --port"
        case _:
            raise InvalidArgument(f"{shown} is refused: {option.help}")


def _validated(values: Mapping[str, object], sources: Mapping[str, str]) -> Arguments:
    try:
        arguments = Arguments.model_validate(values)
    except ValidationError as errors:
        reasons = [_reason(error, values, sources) for error in errors.errors(include_url=False)]
        raise InvalidArgument("; ".join(dict.fromkeys(reasons))) from None
    _ = arguments.backend_settings  # refuses an entry of the wrong form here, where the option is known
    parse_metrics_config(arguments.metrics_config)  # likewise
    _ = arguments.cache_bytes
    _check_tls(arguments, sources)
    _ = arguments.http_restrictions, arguments.grpc_restrictions
    for option in ("http_header_forward_pattern", "grpc_header_forward_pattern"):
        try:
            Forwarding(getattr(arguments, option))
        except InvalidArgument as error:
            raise InvalidArgument(f"{option} ({sources[option]}): {error}") from None
    return arguments


def _check_tls(arguments: Arguments, sources: Mapping[str, str]) -> None:
    if not arguments.grpc_encrypted:
        return
    switch = "grpc_use_ssl" if arguments.grpc_use_ssl else "grpc_use_ssl_mutual"
    needed = ["grpc_server_cert", "grpc_server_key", *["grpc_root_cert"] * arguments.grpc_use_ssl_mutual]
    if missing := [name for name in needed if not getattr(arguments, name)]:
        raise InvalidArgument(f"{switch}=True ({sources[switch]}): give {' and '.join(missing)}, too")


def _reason(error: Mapping[str, Any], values: Mapping[str, object], sources: Mapping[str, str]) -> str:
    name = str(error["loc"][0])
    value = str(values[name])
    message = str(error["msg"]).removeprefix("Value error, ")
    if name in SECRETS:
        return f"{name} ({sources[name]}): {message}"
    if name in NOT_BUILT and value.lower() in NOT_BUILT[name].values:
        message = NOT_BUILT[name].why
    elif name in {"model_control_mode", "log_format"}:
        message = f"invalid argument for --{name.replace('_', '-')}"
    return f"{name}={value} ({sources[name]}): {message}"
