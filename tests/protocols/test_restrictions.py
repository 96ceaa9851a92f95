"""Access rules as they are written, and where their secrets come from."""

from pathlib import Path

import pytest

from jubako.errors import InvalidArgument
from jubako.protocols.access import AccessRules, Group, Key
from jubako.protocols.restrictions import Dialect, parse, parse_all, rules_of


def rules(*entries: str, **environ: str) -> AccessRules:
    return rules_of(parse_all({Dialect.HTTP: entries}), environ)


def test_an_entry_names_categories_a_key_and_a_secret() -> None:
    made = rules("inference,shared-memory:Key=se:cr=et", "health:probe=2")

    assert made.keys == {
        Group.INFERENCE: Key("Key", b"se:cr=et"),
        Group.SHARED_MEMORY: Key("Key", b"se:cr=et"),
        Group.HEALTH: Key("probe", b"2"),
    }
    assert made.names == {"key", "probe"}


def test_every_category_of_triton_can_be_restricted() -> None:
    names = "health,metadata,inference,shared-memory,model-config,model-repository,statistics,trace,logging"

    assert set(rules(f"{names}:k=v").keys) == set(Group)


def test_a_secret_may_be_in_a_file_or_in_a_variable(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("Bearer of the file\n")

    made = rules(f"inference:authorization=@{tmp_path}/secret", "health:k=$NAME", NAME="of the variable")

    assert made.keys[Group.INFERENCE].secret == b"Bearer of the file"
    assert made.keys[Group.HEALTH].secret == b"of the variable"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("inference", "--http-restricted-api option format is '<api>[,<api>...]:<key>=<value>'"),
        ("inference:key", "--http-restricted-api option format is"),
        ("inference:key=", "--http-restricted-api option format is"),
        ("inference:=value", "--http-restricted-api option format is"),
        (":key=value", "--http-restricted-api option format is"),
        ("Inference:key=value", "unknown restricted api 'Inference' "),
        ("inference, health:key=value", "unknown restricted api ' health' "),
        ("inference,:key=value", "unknown restricted api '' "),
        ("all:key=value", "unknown restricted api 'all' "),
        ("health,health:key=value", "restricted api 'health' can not be specified in multiple config groups"),
        ("health:a key=value", "no client can send a key named 'a key'"),
        ("health:k\u00e9y=value", "no client can send a key named 'k\\xe9y'"),
        ("health:key= value", "the secret of 'key' is empty, or not printable ASCII"),
        ("health:key=valu\u00e9", "the secret of 'key' is empty, or not printable ASCII"),
        ("health:key=@", "a secret is '@' and an absolute path, or '$' and a variable's name"),
        ("health:key=$", "a secret is '@' and an absolute path, or '$' and a variable's name"),
        ("health:key=@relative/path", "a secret is '@' and an absolute path"),
        ("health:key=@/nowhere/secret", "cannot read '/nowhere/secret': No such file"),
        ("health:key=$UNSET", "the environment variable UNSET is not set"),
        ("health:key=$EMPTY", "the environment variable EMPTY is not set"),
        ("health:key=$NEWLINE", "the secret of 'key' is empty, or not printable ASCII"),
    ],
)
def test_what_is_wrong_stops_the_start_and_is_named(entry: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        rules(entry, EMPTY="", NEWLINE="a\nb")

    assert message in str(caught.value)
    assert "value" not in str(caught.value).partition(":<key>=<value>")[2]


def test_an_empty_file_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\n")

    with pytest.raises(InvalidArgument, match="is empty"):
        rules(f"health:key=@{tmp_path}/secret")


def test_grpc_says_protocol_and_has_keys_of_its_own() -> None:
    with pytest.raises(InvalidArgument, match="unknown restricted protocol 'x' "):
        parse("x:key=value", Dialect.GRPC)
    with pytest.raises(InvalidArgument, match="no client can send a key named 'key-bin'"):
        parse("health:key-bin=value", Dialect.GRPC)
    with pytest.raises(InvalidArgument, match="restricted protocol 'health' can not be specified"):
        parse_all({Dialect.GRPC: ["health:a=b", "health:c=d"]})


@pytest.mark.parametrize(
    ("sent", "passes"),
    [
        ([], False),
        ([b""], False),
        ([b"secre"], False),
        ([b"secrets"], False),
        ([b"Secret"], False),
        ([b"secret"], True),
        ([b"secret", b"secret"], True),
        ([b"secret", b"wrong"], False),
        ([b"wrong", b"secret"], False),
        ([b"secret, secret"], False),
        ([b"\xff\xfe"], False),
    ],
)
def test_only_the_secret_itself_opens(sent: list[bytes], passes: bool) -> None:
    made = AccessRules({Group.INFERENCE: Key("Key", b"secret")})

    missing = made.missing(Group.INFERENCE, lambda name: sent if name == "key" else [])

    assert missing == (None if passes else "Key")
    assert made.missing(Group.HEALTH, lambda name: []) is None
