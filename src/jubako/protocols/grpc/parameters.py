"""Parameters of inference messages, with Triton's words for those of another type (grpc.md sections 3.2 and 3.3)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tritonclient.grpc import service_pb2 as pb

from jubako.errors import InvalidArgument
from jubako.protocols.shared_memory import Place
from jubako.request import ParameterValue

EMPTY_FINAL: Final = "triton_enable_empty_final_response"
_CUSTOM: Final = frozenset(("int64_param", "bool_param", "string_param", "double_param"))
Parameters = Mapping[str, pb.InferParameter]


@dataclass(frozen=True, slots=True)
class RequestParameters:
    """What a request's parameters ask for."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    """The fields of a `Signature` that they set."""
    empty_final: bool = False


def request_parameters(parameters: Parameters) -> RequestParameters:
    """Read a request's parameters.

    Raises:
        InvalidArgument: one has a type that it must not have, or a name that is reserved.
    """
    if not parameters:
        return RequestParameters()
    custom: dict[str, ParameterValue] = {}
    fields: dict[str, Any] = {"parameters": custom}
    empty_final = False
    for key, parameter in parameters.items():
        match key:
            case "sequence_id":
                value = _one_of(parameter, key, ("int64_param", "string_param"), "int64_param or string_param")
                fields[key] = value % 2**64 if isinstance(value, int) else value
            case "sequence_start" | "sequence_end":
                fields[key] = _one_of(parameter, key, ("bool_param",), "bool_param")
            case "priority":
                fields[key] = _one_of(parameter, key, ("int64_param", "uint64_param"), "int64_param or uint64_param")
                if fields[key] < 0:
                    raise InvalidArgument("invalid value for 'priority', expected value >= 0.")
            case "timeout":
                fields["timeout_us"] = _one_of(parameter, key, ("int64_param",), "int64_param") % 2**64
            case _ if key == EMPTY_FINAL:
                empty_final = _one_of(parameter, key, ("bool_param",), "bool_param")
            case _ if key.startswith("triton_"):
                raise InvalidArgument(
                    "parameter keys starting with 'triton_' are reserved for Triton usage. Only the following keys "
                    f"starting with 'triton_' are allowed: {EMPTY_FINAL}"
                )
            case _:
                custom[key] = _one_of(parameter, key, _CUSTOM, "int64_param, bool_param, or string_param")
    return RequestParameters(fields, empty_final)


def _one_of(parameter: pb.InferParameter, key: str, kinds: frozenset[str] | tuple[str, ...], expected: str) -> Any:
    kind = parameter.WhichOneof("parameter_choice")
    if kind not in kinds:
        raise InvalidArgument(f"invalid value type for '{key}' parameter, expected {expected}.")
    return getattr(parameter, kind)


def place_of(parameters: Parameters, tensor: str) -> Place | None:
    """Return the place in shared memory that a tensor's parameters name, if they do.

    Raises:
        InvalidArgument: they name half of one, or with wrong types.
    """
    if not parameters:
        return None
    if "shared_memory_region" not in parameters:
        for key in ("shared_memory_offset", "shared_memory_byte_size"):
            if key in parameters:
                raise InvalidArgument(
                    f"'{key}' can not be specified without 'shared_memory_region' parameter for tensor '{tensor}'"
                )
        return None
    name = _of_tensor(parameters, "shared_memory_region", "string_param", tensor)
    offset = 0
    if "shared_memory_offset" in parameters:
        offset = _of_tensor(parameters, "shared_memory_offset", "int64_param", tensor)
    if "shared_memory_byte_size" not in parameters:
        raise InvalidArgument(
            "'shared_memory_byte_size' must be specified along with 'shared_memory_region' parameter for tensor "
            f"'{tensor}'"
        )
    size = _of_tensor(parameters, "shared_memory_byte_size", "int64_param", tensor)
    return Place(name, offset % 2**64, size % 2**64)  # below zero they are past every region, as in Triton


def _of_tensor(parameters: Parameters, key: str, kind: str, tensor: str) -> Any:
    parameter = parameters[key]
    if parameter.WhichOneof("parameter_choice") != kind:
        raise InvalidArgument(f"invalid value type for '{key}' parameter for tensor '{tensor}', expected {kind}.")
    return getattr(parameter, kind)


def classes_of(parameters: Parameters) -> int:
    """Return how many classes an output is to be cut to; 0 for the output itself.

    Raises:
        InvalidArgument: not a positive number.
    """
    if not parameters or "classification" not in parameters:
        return 0
    parameter = parameters["classification"]
    if parameter.WhichOneof("parameter_choice") != "int64_param":
        raise InvalidArgument("invalid value type for 'classification' parameter, expected int64_param")
    count: int = parameter.int64_param
    if count <= 0:
        raise InvalidArgument("invalid value for 'classification' parameter, expected >= 0")
    return count
