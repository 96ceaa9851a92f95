"""The command line of `jubako serve`, in tritonserver's syntax."""

from pathlib import Path

import pytest

from jubako.cli.parsing import UsageError, arguments_of, parse, usage
from jubako.cli.serve import listening_at, service_arguments


def test_a_value_follows_an_equals_sign_or_a_space() -> None:
    given = parse(["--http-port=9000", "--id", "mine", "--model-repository=/a"])

    assert given.options == {"http-port": 9000, "id": "mine", "model-repository": ["/a"]}


def test_a_repeatable_option_keeps_every_value_under_either_of_its_names() -> None:
    assert parse(["--model-repository=/a", "--model-store", "/b"]).options == {"model-repository": ["/a", "/b"]}


def test_another_option_keeps_the_last_value() -> None:
    assert parse(["--id=a", "--id=b"]).options == {"id": "b"}


@pytest.mark.parametrize(("word", "value"), [("true", True), ("ON", True), ("1", True), ("False", False), ("0", False)])
def test_booleans_are_true_on_1_or_false_off_0(word: str, value: bool) -> None:
    assert parse([f"--strict-readiness={word}"]).options == {"strict-readiness": value}


def test_a_flag_has_no_value() -> None:
    assert parse(["--disable-auto-complete-config", "--id=a"]).options == {
        "disable-auto-complete-config": True,
        "id": "a",
    }


def test_a_value_may_be_empty_or_look_like_an_option() -> None:
    assert parse(["--log-file=", "--id", "--id"]).options == {"log-file": "", "id": "--id"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--modle-repository=/a"], "unrecognized option '--modle-repository'"),
        (["--http-port"], "option '--http-port' requires an argument"),
        (["--disable-auto-complete-config=true"], "option '--disable-auto-complete-config' doesn't allow an argument"),
        (["--http-port=http"], 'Bad option: "--http-port".\nInvalid option value. Got http'),
        (["--http-port=99999999999999999999"], "Provided option value is out of bound. Got 99999999999999999999"),
        (["--strict-readiness=maybe"], "invalid value for bool option: maybe"),
        (["--metrics-interval-ms=often"], "Invalid option value. Got often"),
        (["/models"], "Unexpected argument: /models"),
        (["--id=a", "--", "--id=b"], "Unexpected argument: --"),
    ],
)
def test_a_wrong_command_line_is_refused_in_tritons_words(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(words)

    assert message in str(caught.value)


@pytest.mark.parametrize("word", ["--help", "-h", "-?"])
def test_help_is_asked_for_in_three_ways(word: str) -> None:
    assert parse(["--id=a", word, "--nonsense"]).help


def test_the_usage_tells_what_is_built_ignored_and_refused() -> None:
    built, _, others = usage().partition("Known, and ignored")

    assert "  --model-repository <string>" in built
    assert "  --grpc-port <integer>" in built
    assert "--cache-directory" in others.partition("refused")[0]
    assert "--model-namespacing" in others.partition("refused")[2]


def test_the_service_is_told_everything_but_where_to_listen() -> None:
    given = parse(["--http-port=1", "--http-address=::1", "--grpc-port=2", "--log-verbose=1"])

    assert arguments_of(given.options) == {"grpc_port": 2, "log_verbose": 1}
    assert listening_at(given.options) == ("::1", 1)


def test_relative_repositories_become_absolute_and_urls_stay() -> None:
    given = parse(["--model-repository=models", "--model-repository=../b", "--model-repository=gs://bucket/models"])

    arguments = service_arguments(given.options, Path("/home/me"))

    assert arguments["model_repository"] == ["/home/me/models", "/home/b", "gs://bucket/models"]


@pytest.mark.parametrize(("words", "wanted"), [([], True), (["--exit-on-error=false"], False)])
def test_a_failed_model_ends_the_start_unless_told_otherwise(words: list[str], wanted: bool) -> None:
    assert service_arguments(parse(words).options, Path("/"))["exit_on_error"] is wanted


def test_it_listens_everywhere_at_8000_by_default_as_triton_does() -> None:
    assert listening_at({}) == ("0.0.0.0", 8000)


def test_relative_certificates_become_absolute() -> None:
    given = parse(["--grpc-server-cert=c.pem", "--grpc-server-key=/keys/k.pem", "--grpc-root-cert="])

    arguments = service_arguments(given.options, Path("/home/me"))

    assert arguments["grpc_server_cert"] == "/home/me/c.pem"
    assert arguments["grpc_server_key"] == "/keys/k.pem"
    assert arguments["grpc_root_cert"] == ""
