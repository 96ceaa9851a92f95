"""Bodies of `infer`, from bytes to a request. No I/O, no HTTP.

A client's JSON header repeats from request to request, all but its id. What it says (names, shapes, datatypes, offsets,
how to answer) is remembered with the runner under the header's bytes, so that a repeated request costs one look-up
and a view for each tensor, and finds its checks done (`Signature.reusable`).
"""

import math
from typing import Any, Final

import numpy as np

from jubako.errors import Internal, InvalidArgument
from jubako.protocols.rest.fields import member, object_or_nothing, required, shape_of, unsigned
from jubako.protocols.rest.json_tensor import TOO_DEEP, WrongStringCount, decode_list, size_of
from jubako.protocols.rest.json_text import parse
from jubako.protocols.rest.limits import Limits
from jubako.protocols.rest.plan import BinaryTensor, Body, OutputPlan, Plan, ReplyPlan
from jubako.protocols.shared_memory import NO_REGIONS, Copies, Place, Regions
from jubako.request import InferRequest, ParameterValue, Signature, TensorSpec
from jubako.runner import Runner
from jubako.tensor import BY_NAME, CUT_STRING, MAX_ELEMENTS, Array, Datatype, decode_bytes, shape_text

REMEMBERED_PLANS: Final = 256
REMEMBERED_HEADER_SIZE: Final = 8192
ID_HEAD: Final = b'{"id":"'
MAX_DIMENSIONS: Final = 32
"""What every numpy can do."""


def header_length(value: bytes | None, body_size: int) -> int:
    """Return the JSON's length from the `Inference-Header-Content-Length` header; all of the body without one.

    Reads a number as C's `stoi` does: leading blanks and a sign are taken, what follows the digits is ignored.

    Raises:
        InvalidArgument: no number, or one out of range.
    """
    if value is None:
        return body_size
    length = int(value) if value.isdigit() and len(value) < 10 else _stoi(value.decode("latin-1"))
    if length < 0 or length > body_size:
        raise InvalidArgument(f"inference header size should be in range (0, {body_size}), got: {length}")
    return length


def _stoi(text: str) -> int:
    stripped = text.lstrip(" \t\n\v\f\r")
    sign = stripped[:1] if stripped[:1] in ("+", "-") else ""
    digits = stripped[len(sign) :]
    end = next((i for i, c in enumerate(digits) if c not in "0123456789"), len(digits))
    if not end:
        raise InvalidArgument(f"Unable to parse Inference-Header-Content-Length, got: {text}")
    value = int(sign + digits[:end]) if end < 20 else 2**63
    if not -(2**31) <= value < 2**31:
        raise InvalidArgument(
            "Unable to parse Inference-Header-Content-Length, value is out of range [ -2147483648, 2147483647 ], got: "
            f"{text}"
        )
    return value


def decode(
    body: Body, length: int, runner: Runner, limits: Limits, start_ns: int, regions: Regions = NO_REGIONS
) -> tuple[InferRequest, ReplyPlan]:
    """Return the request in `body`, whose JSON is the first `length` bytes, and how to answer it.

    Fixed-size binary tensors are views of `body`; those in shared memory are copies.

    Raises:
        JubakoError: the body is not a request; Triton's class and words.
    """
    if length == 0:
        return _decode_raw(body, runner, limits, start_ns)
    header = bytes(body[:length])
    request_id, key = _split_id(header)
    plan = runner.memo.get(key)
    if isinstance(plan, Plan) and len(body) - length == plan.total:
        if plan.shared:
            return _shared(body, length, plan, runner, limits, regions, request_id, start_ns)
        arrays = [
            _view(body, length, tensor)
            if tensor.datatype.size
            else _strings(memoryview(body), length, tensor, runner.name, request_id)
            for tensor in plan.tensors
        ]
        return (
            InferRequest(runner.name, runner.version, plan.signature, arrays, request_id, start_ns),
            plan.reply,
        )
    return _Reading(body, header, key, runner, limits, regions).request(start_ns)


def _shared(
    body: Body,
    length: int,
    plan: Plan,
    runner: Runner,
    limits: Limits,
    regions: Regions,
    request_id: str,
    start_ns: int,
) -> tuple[InferRequest, ReplyPlan]:
    """Return a repeated request with tensors in shared memory: what is there now, if its regions still are."""
    copies = Copies(regions, limits.max_body_size)
    arrays = []
    for tensor in plan.tensors:
        if tensor.place is not None:
            data, start = copies.take(tensor.name, tensor.place), 0
        else:
            data, start = memoryview(body), length
        if tensor.datatype.size:
            arrays.append(np.ndarray(tensor.shape, tensor.datatype.dtype, data, start + tensor.offset))
        else:
            arrays.append(_strings(data, start, tensor, runner.name, request_id))
    request = InferRequest(runner.name, runner.version, plan.signature, arrays, request_id, start_ns)
    return request, _held(plan.reply, regions)


def _held(reply: ReplyPlan, regions: Regions) -> ReplyPlan:
    """Return `reply` with the slots of its outputs held, so that they outlast their regions' registration."""
    if not reply.shared:
        return reply
    slots = {name: regions.slot(output.place) for name, output in reply.outputs.items() if output.place is not None}
    return ReplyPlan(reply.outputs, reply.default, reply.plain, shared=True, slots=slots, heads=reply.heads)


def _split_id(header: bytes) -> tuple[str, bytes]:
    """Cut a leading id off, where it is plain text: what is left repeats from request to request."""
    if header.startswith(ID_HEAD):
        end = header.find(b'"', len(ID_HEAD))
        text = header[len(ID_HEAD) : end]
        if end > 0 and text.isascii() and b"\\" not in text and (name := text.decode()).isprintable():
            return name, header[end:]
    return "", header


def _decode_raw(body: Body, runner: Runner, limits: Limits, start_ns: int) -> tuple[InferRequest, ReplyPlan]:
    """Read a body that is one tensor and nothing else; the model says what it is (http.md section 4.2)."""
    if len(body) > limits.max_input_size:
        raise InvalidArgument(
            f"Raw input has a byte_size ({len(body)} bytes) that exceeds the maximum allowed value of "
            f"{limits.max_input_size} bytes. Use --http-max-input-size to increase the limit."
        )
    inputs = list(runner.interface.inputs.values())
    if len(inputs) != 1:
        raise InvalidArgument(
            "[request id: <id_unknown>] Raw request must only have 1 input (found 1) to be deduced but got "
            f"{len(inputs)} inputs in '{runner.name}' model configuration"
        )
    (spec,) = inputs
    batch = (1,) if runner.interface.batched else ()
    if spec.datatype is Datatype.BYTES:
        if spec.dims != (1,):
            raise InvalidArgument(
                f"[request id: <id_unknown>] For BYTE datatype raw input '{spec.name}', the model must have input "
                "shape [1]"
            )
        shape = (*batch, 1)
        array = np.empty(shape, dtype=object)
        array[...] = bytes(body)
    else:
        shape = (*batch, *_raw_shape(spec.name, spec.dims, len(body) // spec.datatype.dtype.itemsize))
        array = _raw_view(body, BinaryTensor(spec.name, shape, spec.datatype, 0, len(body)), runner.name)
    signature = Signature((TensorSpec(spec.name, spec.datatype, shape),), byte_sizes=(len(body),))
    return (
        InferRequest(runner.name, runner.version, signature, [array], "", start_ns),
        ReplyPlan(default=OutputPlan(binary=True), plain=True),
    )


def _raw_view(body: Body, tensor: BinaryTensor, model: str) -> Array:
    expected = size_of(tensor.datatype, tensor.shape, tensor.name)
    if tensor.size != expected:
        raise InvalidArgument(
            f"[request id: <id_unknown>] input byte size mismatch for input 'raw_input' for model '{model}'. Expected "
            f"{expected}, got {tensor.size}"
        )
    return _view(body, 0, tensor)


def _raw_shape(name: str, dims: tuple[int, ...], count: int) -> tuple[int, ...]:
    if dims.count(-1) > 1:
        raise InvalidArgument(
            f"[request id: <id_unknown>] The shape of the raw input '{name}' can not be deduced because there are more "
            "than one variable-sized dimension"
        )
    fixed = math.prod(size for size in dims if size != -1)
    return tuple(count // max(1, fixed) if size == -1 else size for size in dims)


def _view(body: Body, start: int, tensor: BinaryTensor) -> Array:
    return np.ndarray(tensor.shape, tensor.datatype.dtype, body, start + tensor.offset)


def _strings(body: memoryview, start: int, tensor: BinaryTensor, model: str, request_id: str) -> Array:
    begin = start + tensor.offset
    try:
        return decode_bytes(body[begin : begin + tensor.size], tensor.shape, tensor.name, model)
    except InvalidArgument as error:
        if str(error).startswith(CUT_STRING):
            raise
        raise InvalidArgument(f"{_prefix(request_id)}{error}") from error


def _prefix(request_id: str) -> str:
    return f"[request id: {request_id or '<id_unknown>'}] "


def _has_its_size(tensor: BinaryTensor) -> bool:
    return tensor.datatype.size is None or tensor.size == size_of(tensor.datatype, tensor.shape, tensor.name)


def _view_or_nothing(body: Body, start: int, tensor: BinaryTensor) -> Array:
    """Return a view; an empty array where the bytes are not the shape's, which the admission is going to refuse."""
    if not _has_its_size(tensor):
        return np.empty(0, tensor.datatype.dtype)
    return _view(body, start, tensor)


def _copied(copies: Copies, tensor: BinaryTensor, place: Place, model: str, request_id: str) -> Array:
    data = copies.take(tensor.name, place)
    if tensor.datatype.size is None:
        return _strings(data, 0, tensor, model, request_id)
    if not _has_its_size(tensor):
        return np.empty(0, tensor.datatype.dtype)
    return np.ndarray(tensor.shape, tensor.datatype.dtype, data)


class _Reading:
    """One header being read for the first time."""

    def __init__(self, body: Body, header: bytes, key: bytes, runner: Runner, limits: Limits, regions: Regions) -> None:
        self.body = body
        self.header = header
        self.key = key
        self.runner = runner
        self.limits = limits
        self.regions = regions
        self.copies = Copies(regions, limits.max_body_size)
        self.position = len(header)
        self.id = ""
        self.names: set[str] = set()
        self.specs: list[TensorSpec] = []
        self.sizes: list[int | None] = []
        self.arrays: list[Array] = []
        self.tensors: list[BinaryTensor] = []

    def request(self, start_ns: int) -> tuple[InferRequest, ReplyPlan]:
        if len(self.header) > self.limits.max_input_size:
            raise InvalidArgument(
                f"request JSON size of {len(self.header)} bytes exceeds the maximum allowed input size of "
                f"{self.limits.max_input_size} bytes. Use --http-max-input-size to increase the limit."
            )
        document = self._document()
        self.id = member(document, "id", str, "")
        fields, default = _parameters(document)
        for tensor in self._entries(required(document, "inputs", list)):
            self._input(tensor)
        if self.position != len(self.body):
            raise InvalidArgument(f"unexpected additional input data for model '{self.runner.name}'")
        outputs = self._outputs(document, default)
        plain = default.binary if not outputs else all(_says_shapes_alone(output) for output in outputs.values())
        reply = ReplyPlan(outputs, default, plain, any(output.place for output in outputs.values()))
        held = _held(reply, self.regions)
        reusable = self._reusable()
        signature = Signature(tuple(self.specs), tuple(outputs), tuple(self.sizes), reusable=reusable, **fields)
        if reusable:
            shared = reply.shared or any(tensor.place for tensor in self.tensors)
            self._remember(Plan(signature, reply, self.tensors, len(self.body) - len(self.header), shared))
        request = InferRequest(self.runner.name, self.runner.version, signature, self.arrays, self.id, start_ns)
        return request, held

    def _document(self) -> Any:
        try:
            return parse(self.header)
        except InvalidArgument as error:  # nested deeper than any document but one with an absurd tensor
            raise InvalidArgument(f"Unable to parse 'data': {TOO_DEEP}") from error

    def _reusable(self) -> bool:
        """Whether the header says all there is, and says it again under another id.

        It must not name an id that was not cut off, at its end perhaps, or twice, or spelled with escapes. What the
        admission is going to refuse is not worth it.
        """
        return (
            len(self.tensors) == len(self.specs)
            and all(map(_has_its_size, self.tensors))
            and len(self.header) <= REMEMBERED_HEADER_SIZE
            and b'"id"' not in self.key
            and b"\\u" not in self.key
        )

    def _remember(self, plan: Plan) -> None:
        memo = self.runner.memo
        if len(memo) >= REMEMBERED_PLANS:
            memo.clear()
        memo[self.key] = plan

    def _entries(self, tensors: list[Any]) -> list[Any]:
        if len(tensors) > self.limits.max_tensors:
            raise InvalidArgument(
                f"request names {len(tensors)} tensors, which exceeds the maximum of {self.limits.max_tensors}"
            )
        return tensors

    def _input(self, tensor: Any) -> None:
        if not isinstance(tensor, dict):
            tensor = {}
        parameters = object_or_nothing(tensor, "parameters")
        _one_source(tensor, parameters)
        name = required(tensor, "name", str)
        shape = shape_of(required(tensor, "shape", list))
        datatype = _datatype(required(tensor, "datatype", str), name)
        _check_shape(shape, name)
        if name in self.names:
            raise InvalidArgument(f"{_prefix(self.id)}input '{name}' already exists in request")
        self.names.add(name)
        if "shared_memory_region" in parameters:
            self._in_region(name, datatype, shape, _place(parameters))
        elif "data" in tensor:
            self.arrays.append(self._list(tensor["data"], datatype, shape, name))
            self.sizes.append(None)
        else:
            self._binary(name, datatype, shape, unsigned(parameters, "binary_data_size"))
        self.specs.append(TensorSpec(name, datatype, shape))

    def _list(self, data: Any, datatype: Datatype, shape: tuple[int, ...], name: str) -> Array:
        try:
            return decode_list(data, datatype, shape, name, self.runner.name, self.limits.max_input_size)
        except WrongStringCount as error:
            raise InvalidArgument(f"{_prefix(self.id)}{error}") from error

    def _binary(self, name: str, datatype: Datatype, shape: tuple[int, ...], size: int) -> None:
        missing = self.position + size - len(self.body)
        if missing > 0:
            raise InvalidArgument(
                f"unexpected size for input '{name}', expecting {missing} additional bytes for model "
                f"'{self.runner.name}'"
            )
        size_of(datatype, shape, name)  # refuses what overflows
        tensor = BinaryTensor(name, shape, datatype, self.position - len(self.header), size)
        if datatype.size is None:
            self.arrays.append(_strings(memoryview(self.body), len(self.header), tensor, self.runner.name, self.id))
        else:
            self.arrays.append(_view_or_nothing(self.body, len(self.header), tensor))
        self.sizes.append(size)
        self.tensors.append(tensor)
        self.position += size

    def _in_region(self, name: str, datatype: Datatype, shape: tuple[int, ...], place: Place) -> None:
        tensor = BinaryTensor(name, shape, datatype, 0, place.size, place)
        self.arrays.append(_copied(self.copies, tensor, place, self.runner.name, self.id))
        self.sizes.append(place.size)
        self.tensors.append(tensor)

    def _outputs(self, document: Any, default: OutputPlan) -> dict[str, OutputPlan]:
        plans: dict[str, OutputPlan] = {}
        for output in self._entries(member(document, "outputs", list, [])):
            name = required(output, "name", str)
            if name in plans:
                raise InvalidArgument(f"{_prefix(self.id)}output '{name}' already exists in request")
            plans[name] = _output_plan(object_or_nothing(output, "parameters"))
        return plans


def _datatype(name: str, tensor: str) -> Datatype:
    datatype = BY_NAME.get(name)
    if datatype is None:
        raise InvalidArgument(f"invalid datatype for input {tensor}")
    return datatype


def _one_source(tensor: dict[str, Any], parameters: dict[str, Any]) -> None:
    sources = {
        "'data'": "data" in tensor,
        "'binary_data_size'": "binary_data_size" in parameters,
        "'shared_memory_region'": "shared_memory_region" in parameters,
    }
    given = [source for source, present in sources.items() if present]
    if len(given) != 1:
        raise InvalidArgument(
            "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', "
            "'shared_memory_region' in 'parameters'. "
            + (f"But set {' '.join(given)}" if given else "But no field is set")
        )


def _check_shape(shape: tuple[int, ...], name: str) -> None:
    """Refuse what no array can have, whatever the model says.

    Raises:
        InvalidArgument: too many dimensions, or no elements but dimensions past all measure.
    """
    if len(shape) > MAX_DIMENSIONS:
        raise InvalidArgument(
            f"invalid shape for input '{name}': {len(shape)} dimensions exceed the maximum of {MAX_DIMENSIONS}"
        )
    if 0 in shape and math.prod(size for size in shape if size) > MAX_ELEMENTS // 8:
        raise InvalidArgument(
            f"invalid shape for input '{name}': shape {shape_text(shape)} contains one or more invalid dimensions"
        )


def _place(parameters: dict[str, Any]) -> Place:
    return Place(
        required(parameters, "shared_memory_region", str),
        unsigned(parameters, "shared_memory_offset", 0),
        unsigned(parameters, "shared_memory_byte_size", 0),
    )


def _says_shapes_alone(output: OutputPlan) -> bool:
    return (output.binary or output.place is not None) and not output.classification


def _output_plan(parameters: dict[str, Any]) -> OutputPlan:
    count = unsigned(parameters, "classification", 0, doing="set")
    binary = member(parameters, "binary_data", bool, False)
    if "shared_memory_region" in parameters:
        if "classification" in parameters:
            raise InvalidArgument("Output can't set both 'shared_memory_region' and 'classification'")
        if binary:
            raise InvalidArgument("Output can't set both 'shared_memory_region' and 'binary_data'")
        return OutputPlan(place=_place(parameters))
    return OutputPlan(binary, count)


def _parameters(document: Any) -> tuple[dict[str, Any], OutputPlan]:
    """Return the fields of a `Signature` that the request's parameters set, and how outputs not named are written."""
    given = document.get("parameters", {}) if isinstance(document, dict) else {}
    if not isinstance(given, dict):
        raise Internal("failed to get request params.: attempt to get members for non-object")
    if not given:
        return {}, OutputPlan()
    custom: dict[str, ParameterValue] = {}
    fields: dict[str, Any] = {"parameters": custom}
    for key, value in given.items():
        if key == "sequence_id":
            is_number = type(value) is int and 0 <= value < 2**64
            fields["sequence_id"] = value if is_number else member(given, key, str)
        elif key in ("sequence_start", "sequence_end"):
            fields[key] = member(given, key, bool)
        elif key == "priority":
            fields["priority"] = unsigned(given, key)
        elif key == "timeout":
            fields["timeout_us"] = unsigned(given, key)
        elif key == "binary_data_output":
            continue
        elif key.startswith("triton_"):
            raise InvalidArgument(
                "parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified."
            )
        elif isinstance(value, str | int | float):
            custom[key] = value
        else:
            raise InvalidArgument(
                f"parameter '{key}' has invalid type. It should be either 'int', 'bool', or 'string'."
            )
    return fields, OutputPlan(binary=member(given, "binary_data_output", bool, False))
