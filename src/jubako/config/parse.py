"""config.pbtxt and its JSON twin: text to `ModelConfig`, and `ModelConfig` to the JSON that the config route shows."""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, cast

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict
from google.protobuf.json_format import ParseError as JsonParseError
from google.protobuf.message import Message
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.errors import InvalidArgument


def parse_text(text: str, source: str) -> ModelConfig:
    """Read config.pbtxt. `source` names the file in errors: `digits/config.pbtxt`.

    Raises:
        InvalidArgument: the text is no ModelConfig; the message has the line and the column, both counted from 1.
    """
    config = ModelConfig()
    try:
        text_format.Parse(text, config)
    except text_format.ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        what = str(error).removeprefix(f"{line}:{column} : ").strip()
        where = f" at line {line}, column {column}" if line is not None else ""
        raise InvalidArgument(f"failed to read text proto from {source}{where}: {what}") from error
    return config


def parse_json(text: str, source: str) -> ModelConfig:
    """Read a configuration given as proto JSON, as the load API does; `source` names it in errors: `config override`.

    Unknown fields are refused, field names may be snake_case or camelCase, enum names may have any case.

    Raises:
        InvalidArgument: the text is no JSON, or no ModelConfig.
    """
    try:
        document = json.loads(text, object_pairs_hook=_without_twins)
        if not isinstance(document, dict):
            raise InvalidArgument(f"Invalid {source}: expected a JSON object")
        return ParseDict(_with_enum_case(document, ModelConfig.DESCRIPTOR), ModelConfig())
    except (ValueError, JsonParseError) as error:
        raise InvalidArgument(f"Invalid {source}: {error}") from error
    except RecursionError as error:
        raise InvalidArgument(f"Invalid {source}: nested too deeply") from error


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"'{twin}' is given more than once")
    return document


def _with_enum_case(document: Any, descriptor: Descriptor) -> Any:
    """Return `document` with its enum names as the descriptor spells them; what does not fit is left for the parser."""
    if not isinstance(document, dict):
        return document
    by_name = {**descriptor.fields_by_name, **descriptor.fields_by_camelcase_name}
    return {
        name: _field_with_enum_case(value, by_name[name]) if name in by_name else value
        for name, value in document.items()
    }


def _field_with_enum_case(value: Any, field: FieldDescriptor) -> Any:
    if isinstance(value, list):
        return [_field_with_enum_case(item, field) for item in value]
    if field.enum_type is not None:
        return value.upper() if isinstance(value, str) else value
    if field.message_type is None:
        return value
    if field.message_type.GetOptions().map_entry and isinstance(value, dict):
        entry = field.message_type.fields_by_name["value"]
        return {key: _field_with_enum_case(item, entry) for key, item in value.items()}
    return _with_enum_case(value, field.message_type)


def to_json(config: ModelConfig) -> dict[str, Any]:
    """Return `config` as Triton's config route shows it.

    Proto3 JSON in the order of the .proto with its snake_case names: scalars, enums and repeated fields also at their
    default, absent messages left out, enums by name. Unlike proto3 JSON, 64-bit integers are numbers.
    """
    return _message_json(config)


def _message_json(message: Message) -> dict[str, Any]:
    fields = cast("Sequence[FieldDescriptor]", message.DESCRIPTOR.fields)
    return {
        field.name: _field_json(getattr(message, field.name), field)
        for field in fields
        if not field.has_presence or message.HasField(field.name)
    }


def _field_json(value: Any, field: FieldDescriptor) -> Any:
    if isinstance(value, Mapping) and field.message_type is not None:
        entry = field.message_type.fields_by_name["value"]
        return {str(key): _value_json(value[key], entry) for key in sorted(value)}
    if field.is_repeated:
        return [_value_json(item, field) for item in value]
    return _value_json(value, field)


def _value_json(value: Any, field: FieldDescriptor) -> Any:
    if field.message_type is not None:
        return _message_json(value)
    if field.enum_type is not None:
        return _enum_json(value, field.enum_type)
    if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
        return _float_json(value)
    return value


def _enum_json(number: int, enum: EnumDescriptor) -> str | int:
    known = enum.values_by_number.get(number)
    return known.name if known is not None else number


def _float_json(value: float) -> float | int | str:
    """Write a 32-bit float with the fewest digits that give it back: 0.1, not 0.10000000149011612; 1, not 1.0."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value.is_integer() and abs(value) < 2**24:
        return int(value)
    candidates = (float(f"{value:.{digits}g}") for digits in range(6, 10))
    return next((short for short in candidates if _fits_32_bits(short, value)), value)


def _fits_32_bits(short: float, value: float) -> bool:
    try:
        return struct.pack("f", short) == struct.pack("f", value)
    except OverflowError:  # rounded up past the largest float
        return False
