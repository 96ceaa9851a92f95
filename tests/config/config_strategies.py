"""Any ModelConfig, built from the descriptor: every field may be set, to any value of its type."""

from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st
from tritonclient.grpc.model_config_pb2 import ModelConfig

_TEXT = st.text(max_size=8)
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_STRING: _TEXT,
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32, allow_nan=False),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(allow_nan=False),
}


def _value(draw: st.DrawFn, field: FieldDescriptor) -> Any:
    if field.enum_type is not None:
        return draw(st.sampled_from(sorted(field.enum_type.values_by_number)))
    return draw(_SCALARS[field.cpp_type])


def _fill(draw: st.DrawFn, message: Message) -> None:
    fields = cast("list[FieldDescriptor]", list(message.DESCRIPTOR.fields))
    chosen = st.lists(st.sampled_from(fields), unique=True, max_size=4) if fields else st.just(fields)
    for field in draw(chosen):
        content = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
            if value.message_type is not None:
                _fill(draw, content[_value(draw, key)])
            else:
                content[_value(draw, key)] = _value(draw, value)
        elif field.message_type is not None:
            part = content.add() if field.is_repeated else content
            part.SetInParent()
            _fill(draw, part)
        elif field.is_repeated:
            content.extend(_value(draw, field) for _ in range(draw(st.integers(1, 3))))
        else:
            setattr(message, field.name, _value(draw, field))


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    config = ModelConfig()
    _fill(draw, config)
    return config
