"""A header that is read for the first time: parsed, checked member by member in Triton's words, and remembered."""

import math
from typing import Any, Final

from jubako.errors import Internal, InvalidArgument
from jubako.protocols.rest.binary_tensor import copied, has_its_size, held, strings, view_or_nothing
from jubako.protocols.rest.fields import member, object_or_nothing, required, shape_of, unsigned
from jubako.protocols.rest.json_tensor import TOO_DEEP, WrongStringCount, decode_list, size_of
from jubako.protocols.rest.json_text import parse
from jubako.protocols.rest.limits import Limits
from jubako.protocols.rest.plan import BinaryTensor, Body, OutputPlan, Plan, ReplyPlan
from jubako.protocols.shared_memory import Copies, Place, Regions
from jubako.request import InferRequest, ParameterValue, Signature, TensorSpec, label
from jubako.runner import Runner
from jubako.tensor import BY_NAME, MAX_ELEMENTS, Array, Datatype, shape_text

REMEMBERED_PLANS: Final = 256
REMEMBERED_HEADER_SIZE: Final = 8192
MAX_DIMENSIONS: Final = 32
"""What every numpy can do."""


class Reading:
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
        """Return the request and how to answer it; remember what will do for the next one.

        Raises:
            JubakoError: the body is not a request; Triton's class and words.
        """
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
        answering = held(reply, self.regions)
        reusable = self._reusable()
        signature = Signature(tuple(self.specs), tuple(outputs), tuple(self.sizes), reusable=reusable, **fields)
        if reusable:
            shared = reply.shared or any(tensor.place for tensor in self.tensors)
            self._remember(Plan(signature, reply, self.tensors, len(self.body) - len(self.header), shared))
        request = InferRequest(self.runner.name, self.runner.version, signature, self.arrays, self.id, start_ns)
        return request, answering

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
            and all(map(has_its_size, self.tensors))
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
            raise InvalidArgument(f"{label(self.id)}input '{name}' already exists in request")
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
            raise InvalidArgument(f"{label(self.id)}{error}") from error

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
            self.arrays.append(strings(memoryview(self.body), len(self.header), tensor, self.runner.name, self.id))
        else:
            self.arrays.append(view_or_nothing(self.body, len(self.header), tensor))
        self.sizes.append(size)
        self.tensors.append(tensor)
        self.position += size

    def _in_region(self, name: str, datatype: Datatype, shape: tuple[int, ...], place: Place) -> None:
        tensor = BinaryTensor(name, shape, datatype, 0, place.size, place)
        self.arrays.append(copied(self.copies, tensor, place, self.runner.name, self.id))
        self.sizes.append(place.size)
        self.tensors.append(tensor)

    def _outputs(self, document: Any, default: OutputPlan) -> dict[str, OutputPlan]:
        plans: dict[str, OutputPlan] = {}
        for output in self._entries(member(document, "outputs", list, [])):
            name = required(output, "name", str)
            if name in plans:
                raise InvalidArgument(f"{label(self.id)}output '{name}' already exists in request")
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
