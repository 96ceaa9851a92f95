"""Bodies of `generate` and `generate_stream`, flat JSON: from bytes to a request, and from an answer back.

A key that names an input of the model is a tensor, any other a parameter; `parameters` may hold more of both (http.md
section 8). No I/O, no HTTP.
"""

import math
from typing import Any, Final

from jubako.errors import Internal, InvalidArgument, JubakoError
from jubako.protocols.rest.encode import json_values
from jubako.protocols.rest.fields import member
from jubako.protocols.rest.json_tensor import WrongStringCount, decode_list, refuse_halves
from jubako.protocols.rest.json_text import dump, dump_value, parse
from jubako.protocols.rest.limits import Limits
from jubako.protocols.rest.plan import Body
from jubako.protocols.rest.status import error_body, status_of
from jubako.request import InferRequest, InferResponse, ParameterValue, Signature, TensorSpec, label
from jubako.runner import Runner
from jubako.tensor import Array

NESTED: Final = "parameters"
NOT_ONE: Final = (
    "generate expects model to produce exactly 1 response, use generate stream for model that generates various number "
    "of responses"
)


def decode(body: Body, runner: Runner, limits: Limits, start_ns: int) -> InferRequest:
    """Return the request in `body`. Of two equal keys in one object the last counts.

    Keys that `infer` reserves (`priority`, `sequence_id`, `timeout`, …) are parameters like any other, as in Triton.

    Raises:
        JubakoError: the body is not a request for this model; Triton's class and words.
    """
    document = parse(body)
    if not isinstance(document, dict):
        raise Internal("attempt to get members for non-object")
    reading = _Reading(runner, limits, member(document, "id", str, ""))
    for key, value in document.items():
        if key == NESTED:
            reading.nested(value)
        else:
            reading.take(key, value)
    return reading.request(start_ns)


class _Reading:
    """One body being read."""

    def __init__(self, runner: Runner, limits: Limits, request_id: str) -> None:
        self.runner = runner
        self.limits = limits
        self.id = request_id
        self.inputs: dict[str, tuple[TensorSpec, Array]] = {}
        self.parameters: dict[str, ParameterValue] = {}

    def nested(self, value: Any) -> None:
        if NESTED in self.runner.interface.inputs:
            raise InvalidArgument(f"Keyword '{NESTED}' for nested schema also given as input tensor name")
        if not isinstance(value, dict):
            raise Internal(f"Expected JSON object for keyword: '{NESTED}': attempt to access JSON non-object as object")
        for key, inner in value.items():
            try:
                self.take(key, inner)
            except WrongStringCount as error:
                raise InvalidArgument(f"Converting keyword: '{NESTED}': {error}") from error
            except JubakoError as error:
                raise type(error)(f"Converting keyword: '{NESTED}': {error}") from error

    def take(self, key: str, value: Any) -> None:
        if key not in self.runner.interface.inputs:
            self.parameters[key] = _parameter(key, value)
        elif key in self.inputs:
            raise InvalidArgument(f"{label(self.id)}input '{key}' already exists in request")
        else:
            self.inputs[key] = self._tensor(key, value if isinstance(value, list) else [value])

    def _tensor(self, name: str, data: list[Any]) -> tuple[TensorSpec, Array]:
        interface = self.runner.interface
        spec = interface.inputs[name]
        refuse_halves(spec.datatype, name)
        shape = _shape(name, (-1, *spec.dims) if interface.batched else spec.dims, len(data))
        try:
            array = decode_list(data, spec.datatype, shape, name, self.runner.name, self.limits.max_input_size)
        except WrongStringCount as error:
            raise InvalidArgument(f"{label(self.id)}{error}") from error
        return TensorSpec(name, spec.datatype, shape), array

    def request(self, start_ns: int) -> InferRequest:
        specs = tuple(spec for spec, _ in self.inputs.values())
        arrays = [array for _, array in self.inputs.values()]
        signature = Signature(specs, parameters=self.parameters)
        return InferRequest(self.runner.name, self.runner.version, signature, arrays, self.id, start_ns)


def _shape(name: str, dims: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return the shape of `count` elements: the innermost dimension that is open takes them, the other open ones are 1.

    Raises:
        InvalidArgument: the fixed dimensions do not divide the count, or there is no open one and they are not it.
    """
    fixed = math.prod(size for size in dims if size != -1)
    is_open = -1 in dims
    if not fixed or count % fixed or (not is_open and count != fixed):
        raise InvalidArgument(f"The schema can not convert input '{name}' to tensor with proper shape")
    shape = [1 if size == -1 else size for size in dims]
    if is_open:
        innermost = len(dims) - 1 - dims[::-1].index(-1)
        shape[innermost] = count // fixed
    return tuple(shape)


def _parameter(key: str, value: Any) -> ParameterValue:
    """Return a parameter; an integer that does not fit in 64 bits and a sign is a double.

    Raises:
        InvalidArgument: neither a number, a boolean nor a string.
    """
    if isinstance(value, str | bool | float):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else float(value)
    raise InvalidArgument(f"parameter '{key}' has invalid type. It should be either 'int', 'bool', or 'string'.")


def encode(response: InferResponse) -> bytes:
    """Return an answer that is not an error as one object, keys sorted; an output with one element is a scalar.

    Raises:
        InvalidArgument: an output cannot be written in JSON.
    """
    signature = response.signature
    assert signature is not None
    fields = {"model_name": dump(signature.model_name), "model_version": b'"%d"' % signature.model_version}
    if response.request.id:
        fields["id"] = dump(response.request.id)
    for key, value in (response.parameters or {}).items():
        fields[key] = dump_value(value)
    for spec, array in zip(signature.outputs, response.arrays, strict=True):
        values = json_values(array, spec)
        fields[spec.name] = values[1:-1] if array.size == 1 else values
    return b"{%b}" % b",".join(b"%b:%b" % (dump(key), fields[key]) for key in sorted(fields))


def event(data: bytes) -> bytes:
    """Return one server-sent event."""
    return b"data: %b\n\n" % data


def said(response: InferResponse) -> tuple[int, bytes]:
    """Return an answer's status and its JSON, which is an error's where it is one, or cannot be written."""
    try:
        if response.error is not None:
            raise response.error
        return 200, encode(response)
    except JubakoError as error:
        return status_of(error), error_body(str(error))
