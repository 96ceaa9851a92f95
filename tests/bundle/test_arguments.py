"""The service's arguments: where a value comes from, and what is said about a wrong one."""

import json
from pathlib import Path

import pytest

from jubako.bundle.arguments import Arguments, parse_backend_config, settle
from jubako.bundle.options import OPTIONS, Fate
from jubako.bundle.translate import access_of, backend_options_of, grpc_options_of, server_options_of
from jubako.errors import InvalidArgument
from jubako.protocols.grpc.options import CompressionLevel, GrpcOptions, Tls


def command_line(**options: object) -> dict[str, str]:
    return {"JUBAKO_COMMAND_LINE": json.dumps(options)}


def test_without_a_word_every_value_is_the_default() -> None:
    settled = settle({}, {"PATH": "/bin"})

    assert settled.arguments == Arguments()
    assert set(settled.sources.values()) == {"default"}
    assert settled.warnings == ()


def test_the_environment_stands_above_the_arguments_and_the_command_line_above_both() -> None:
    given = {"id": "from --arg", "exit_timeout_secs": "1", "log_verbose": "1"}
    environ = {"JUBAKO_ID": "from the environment", "JUBAKO_EXIT_TIMEOUT_SECS": "2"} | command_line(id="typed")

    settled = settle(given, environ)

    assert settled.arguments.id == "typed"
    assert settled.arguments.exit_timeout_secs == 2
    assert settled.arguments.log_verbose == 1
    assert [settled.sources[name] for name in ("id", "exit_timeout_secs", "log_verbose")] == [
        "command line",
        "environment",
        "argument",
    ]


def test_the_start_log_names_each_value_that_was_set_with_its_source_and_the_rest_as_defaults() -> None:
    *set_, defaults = settle({"id": "mine"}, {"JUBAKO_STRICT_READINESS": "false"}).lines()

    assert set_ == ['id="mine" (argument)', "strict_readiness=false (environment)"]
    assert "exit_timeout_secs=30" in defaults
    assert defaults.endswith("(default)")


@pytest.mark.parametrize("written", ['["/a", "/b"]', "/a,/b", " /a , /b ", ["/a", "/b"]])
def test_a_repeatable_argument_takes_a_json_list_a_comma_list_or_a_list(written: object) -> None:
    assert settle({"model_repository": written}, {}).arguments.model_repository == ("/a", "/b")


def test_a_json_list_keeps_a_comma_in_a_path() -> None:
    assert settle({"model_repository": '["/a,b"]'}, {}).arguments.model_repository == ("/a,b",)


def test_the_old_name_and_hyphens_are_understood() -> None:
    settled = settle({"model-store": "/a", "exit-timeout-secs": "5"}, {})

    assert settled.arguments.model_repository == ("/a",)
    assert settled.arguments.exit_timeout_secs == 5


@pytest.mark.parametrize(("given", "shown"), [("true", True), ("on", True), ("1", True), ("off", False), ("0", False)])
def test_booleans_are_written_as_triton_writes_them(given: str, shown: bool) -> None:
    assert settle({"strict_readiness": given}, {}).arguments.strict_readiness is shown


@pytest.mark.parametrize(
    ("given", "completes"),
    [({}, True), ({"disable_auto_complete_config": True}, False), ({"strict_model_config": "true"}, False)],
)
def test_either_of_two_options_turns_auto_complete_off(given: dict[str, object], completes: bool) -> None:
    assert settle(given, {}).arguments.auto_complete is completes


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ({}, 0),
        ({"cache_config": "local,size=1048576"}, 1048576),
        ({"cache_config": ["local,size=1", "local,size=3000000000"]}, 3_000_000_000),
        ({"response_cache_byte_size": "9"}, 9),
        ({"response_cache_byte_size": "0"}, 0),
    ],
)
def test_the_cache_has_the_size_that_either_option_says(given: dict[str, object], size: int) -> None:
    arguments = settle(given, {}).arguments

    cache = server_options_of(arguments, []).load.runner.cache

    assert (0 if cache is None else cache.max_bytes) == arguments.cache_bytes == size


@pytest.mark.parametrize(
    ("given", "environ", "message"),
    [
        ({"modle_repository": "/a"}, {}, "--arg modle_repository: there is no such argument"),
        ({}, {"JUBAKO_MODLE": "/a"}, "environment variable JUBAKO_MODLE: there is no such argument"),
        ({}, command_line(modle="/a"), "--modle: there is no such argument"),
        ({"http_max_input_size": "0"}, {}, "http_max_input_size=0 (argument): Input should be greater than 0"),
        ({}, {"JUBAKO_EXIT_TIMEOUT_SECS": "soon"}, "exit_timeout_secs=soon (environment): Input should be a valid int"),
        ({"model_control_mode": "poll"}, {}, "model_control_mode=poll (argument): not built yet"),
        ({"model_control_mode": "explicit"}, {}, "model_control_mode=explicit (argument): not built yet"),
        ({"model_control_mode": "sometimes"}, {}, "invalid argument for --model-control-mode"),
        ({"topology": "services"}, {}, "topology=services (argument): not built yet; only 'embedded' is"),
        ({"workers": "2"}, {}, "workers=2 (argument): not built yet"),
        ({"load_model": "a"}, {}, "--arg load_model is refused"),
        ({"http_restricted_api": "helth:k=v"}, {}, "unknown restricted api 'helth' "),
        ({"grpc_restricted_protocol": "health;"}, {}, "--grpc-restricted-protocol option format is"),
        ({"http_header_forward_pattern": "("}, {}, "http_header_forward_pattern (argument): '(' is not a regular"),
        ({"grpc_use_ssl": "1"}, {}, "grpc_use_ssl=True (argument): give grpc_server_cert and grpc_server_key, too"),
        (
            {"grpc_use_ssl_mutual": "1", "grpc_server_cert": "c", "grpc_server_key": "k"},
            {},
            "grpc_use_ssl_mutual=True (argument): give grpc_root_cert, too",
        ),
        (
            {"grpc_infer_response_compression_level": "most"},
            {},
            "grpc_infer_response_compression_level=most (argument)",
        ),
        ({"grpc_keepalive_time": "2147483648"}, {}, "grpc_keepalive_time=2147483648 (argument): Input should be less"),
        ({"backend_config": "onnxruntime"}, {}, "--backend-config option format is"),
        (
            {"cache_config": "local,size=1", "response_cache_byte_size": "1"},
            {},
            "Incompatible flags --response-cache-byte-size and --cache-config both provided. Please provide one or the",
        ),
        (
            {},
            command_line(cache_config=["local,size=1", "redis,host=h"]),
            "found multiple cache configurations, but only a single cache is currently supported",
        ),
        ({"cache_config": "redis,host=h"}, {}, "there is no cache 'redis', only 'local'"),
        ({"cache_config": "local,size=1;local,speed=9"}, {}, "the cache 'local' has no setting 'speed'"),
        ({"cache_config": "local"}, {}, "--cache-config option format is '<cache name>,<setting>=<value>'. Got local"),
        ({"cache_config": "size=5"}, {}, "--cache-config option format is"),
        ({"cache_config": "local,size=many"}, {}, "Failed to initialize LocalCache: config didn't contain a valid 'si"),
        ({"cache_config": "local,size=0"}, {}, "Failed to initialize LocalCache: config didn't contain a valid 'size'"),
        ({"response_cache_byte_size": "-1"}, {}, "response_cache_byte_size=-1 (argument): Input should be greater"),
        ({}, {"JUBAKO_COMMAND_LINE": "[]"}, "environment variable JUBAKO_COMMAND_LINE: is not a JSON object"),
    ],
)
def test_what_is_wrong_is_named_with_who_set_it(
    given: dict[str, object], environ: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        settle(given, environ)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_option_that_is_not_built_is_ignored_with_its_name_in_a_warning() -> None:
    settled = settle({"reuse_http_port": "1"}, {"JUBAKO_CACHE_DIRECTORY": "x"} | command_line(rate_limit="off"))

    assert settled.arguments == Arguments()
    assert [warning.partition(" is ignored")[0] for warning in settled.warnings] == [
        "--arg reuse_http_port",
        "environment variable JUBAKO_CACHE_DIRECTORY",
        "--rate-limit",
    ]


def test_variables_of_the_servers_own_processes_are_no_arguments() -> None:
    assert settle({}, {"JUBAKO_INTERNAL_SNAPSHOT": "/x"}).arguments == Arguments()


def test_every_option_that_becomes_an_argument_is_one() -> None:
    named = {option.argument for option in OPTIONS.values() if option.fate is Fate.ARGUMENT}

    assert named <= set(Arguments.model_fields)


def test_no_secret_shows_in_the_start_log_or_in_an_error() -> None:
    settled = settle(
        {
            "http_restricted_api": '["inference,trace:key=hush", "health:probe=@/run/probe"]',
            "restricted_api": "logging:other=$TOKEN",
        },
        {"JUBAKO_GRPC_RESTRICTED_PROTOCOL": "inference:key=hush"},
    )
    *lines, _ = settled.lines()

    assert "hush" not in "".join((*lines, *settled.warnings, repr(settled.arguments.http_restrictions)))
    assert 'http_restricted_api=["inference,trace:key=***", "health:probe=@/run/probe"] (argument)' in lines
    assert 'restricted_api=["logging:other=$TOKEN"] (argument)' in lines
    for wrong in (
        '["inference:key=hush',
        "inference,helth:key=hush",
        "inference:k y=hush",
        "x=hush",
        "inference:=hush",
    ):
        with pytest.raises(InvalidArgument) as caught:
            settle({"http_restricted_api": wrong}, {})
        assert "hush" not in str(caught.value)


def test_a_secret_in_clear_on_a_command_line_is_warned_about_and_elsewhere_not() -> None:
    given = {"restricted_api": "inference:key=hush"}

    (warning,) = settle(given, {}).warnings

    assert "restricted_api=inference:key=*** was given in clear" in warning
    assert settle({}, {"JUBAKO_RESTRICTED_API": "inference:key=hush"}).warnings == ()
    assert settle({"restricted_api": "inference:key=$TOKEN"}, {}).warnings == ()


def test_a_category_that_is_restricted_over_one_protocol_alone_is_warned_about() -> None:
    environ = {"JUBAKO_HTTP_RESTRICTED_API": "inference,health:k=v"}

    (warning,) = settle({}, environ).warnings

    assert warning.startswith("restricted over HTTP and open over gRPC: inference, health;")
    assert settle({"grpc_port": "0"}, environ).warnings == ()


def test_rules_for_both_protocols_and_for_one_are_added_up() -> None:
    arguments = settle({"restricted_api": "inference:a=$A", "http_restricted_api": "health:b=$B"}, {}).arguments

    access = access_of(arguments, {"A": "1", "B": "2"})

    assert set(access.http.keys) == {"inference", "health"}
    assert set(access.grpc.keys) == {"inference"}
    with pytest.raises(InvalidArgument, match="variable B is not set"):
        access_of(arguments, {"A": "1"})
    with pytest.raises(InvalidArgument, match="'inference' can not be specified in multiple config groups"):
        settle({"restricted_api": "inference:a=$A", "grpc_restricted_protocol": "inference:b=$B"}, {})


def test_backend_settings_for_all_lie_under_those_of_one() -> None:
    arguments = settle(
        {"backend_config": '["default-max-batch-size=8", "onnxruntime,default-max-batch-size=2", "pytorch,a=b"]'}, {}
    ).arguments

    options = backend_options_of(arguments)

    assert options["onnxruntime"].default_max_batch_size == 2
    assert options["pytorch"].default_max_batch_size == 8
    assert options["pytorch"].settings == {"default-max-batch-size": "8", "a": "b"}


def test_grpc_listens_where_http_does_unless_told_otherwise_and_nowhere_when_turned_off() -> None:
    def listening(**given: str) -> GrpcOptions | None:
        return grpc_options_of(settle(given, {}).arguments, "10.0.0.1")

    assert listening() == GrpcOptions("10.0.0.1", 8001)
    assert listening(grpc_address="::1", grpc_port="9") == GrpcOptions("::1", 9)
    assert listening(grpc_port="0") is None
    assert listening(allow_grpc="false") is None


def test_every_grpc_option_reaches_the_server() -> None:
    given = {
        "reuse_grpc_port": "true",
        "grpc_use_ssl_mutual": "true",
        "grpc_server_cert": "c",
        "grpc_server_key": "k",
        "grpc_root_cert": "r",
        "grpc_infer_response_compression_level": "high",
        "grpc_keepalive_time": "1",
        "grpc_keepalive_timeout": "2",
        "grpc_keepalive_permit_without_calls": "true",
        "grpc_http2_max_pings_without_data": "3",
        "grpc_http2_min_recv_ping_interval_without_data": "4",
        "grpc_http2_max_ping_strikes": "5",
        "grpc_max_connection_age": "6",
        "grpc_max_connection_age_grace": "7",
        "grpc_max_receive_message_bytes": "8",
        "grpc_max_send_message_bytes": "9",
    }

    assert grpc_options_of(settle(given, {}).arguments, "a") == GrpcOptions(
        "a", 8001, True, Tls(Path("c"), Path("k"), Path("r"), mutual=True), CompressionLevel.HIGH,
        1, 2, True, 3, 4, 5, 6, 7, 8, 9,
    )  # fmt: skip


def test_a_backend_setting_may_hold_an_equals_sign() -> None:
    assert parse_backend_config("python,shm=a=b") == ("python", "shm", "a=b")


def test_a_batch_size_that_is_no_number_is_refused() -> None:
    arguments = settle({"backend_config": "default-max-batch-size=many"}, {}).arguments

    with pytest.raises(InvalidArgument, match="is not a number: many"):
        server_options_of(arguments, [])
