"""The `parameters` of config.pbtxt, read as booleans and integers with Triton's rules and words."""

import re

from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.errors import InvalidArgument

TRUE = frozenset({"true", "on", "1"})
FALSE = frozenset({"false", "off", "0"})


def text(config: ModelConfig, key: str) -> str | None:
    """Return the parameter's text, None where it is not set."""
    # Asking a protobuf map for a missing key would add it.
    return config.parameters[key].string_value if key in config.parameters else None


def boolean(config: ModelConfig, key: str) -> bool | None:
    """Return the parameter as a boolean, None where it is not set.

    Raises:
        InvalidArgument: it is neither true, on, 1 nor false, off, 0, in any case of letters.
    """
    value = text(config, key)
    if value is None:
        return None
    if value.lower() in TRUE:
        return True
    if value.lower() in FALSE:
        return False
    raise InvalidArgument(f"failed to convert {key} '{value}' to boolean")


def integer(config: ModelConfig, key: str) -> int | None:
    """Return the parameter as an integer, None where it is not set.

    Raises:
        InvalidArgument: it is not a decimal integer.
    """
    value = text(config, key)
    if value is None:
        return None
    if not re.fullmatch(r"\s*[+-]?\d{1,18}\s*", value, re.ASCII):
        raise InvalidArgument(f"failed to convert {key} '{value}' to integral number")
    return int(value)
