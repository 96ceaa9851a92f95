"""Messages of inference, from bytes to a request. No I/O, no gRPC.

What a message's header says (`wire.Cut.header`: names, shapes, datatypes, parameters, how to answer) is remembered with
the runner, so that a repeated request costs one look-up and a view for each tensor, and finds its checks done
(`Signature.reusable`).
"""

import math
from dataclasses import replace
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from jubako.errors import Internal, InvalidArgument
from jubako.protocols.grpc.contents import raw_form
from jubako.protocols.grpc.parameters import classes_of, place_of, request_parameters
from jubako.protocols.grpc.plan import Plan, ReplyPlan
from jubako.protocols.grpc.wire import Cut
from jubako.protocols.shared_memory import NO_REGIONS, Copies, Place, Regions
from jubako.request import InferRequest, Signature, TensorSpec, label
from jubako.runner import Runner
from jubako.server import parse_version
from jubako.tensor import BY_NAME, CUT_STRING, MAX_ELEMENTS, Array, Datatype, decode_bytes, element_count, shape_text

REMEMBERED: Final = 256
"""Headers for each runner, and targets for each `Targets`, before all are forgotten."""
REMEMBERED_HEADER_SIZE: Final = 8192
MAX_DIMENSIONS: Final = 32
"""What every numpy can do."""
MAX_TENSORS: Final = 4096
MAX_SHARED: Final = 2**31 - 1
"""Bytes of one request's inputs in shared memory: as many as a message may have."""
Target = tuple[str, int]
"""A model's name and its version."""


def parse(header: bytes) -> pb.ModelInferRequest:
    """Return the message that `header` is.

    Raises:
        Internal: it is none.
    """
    try:
        return pb.ModelInferRequest.FromString(header)
    except DecodeError as error:
        raise Internal("Unable to parse request") from error


class Targets:
    """Which model and version a header asks for, remembered."""

    def __init__(self) -> None:
        self._known: dict[bytes, Target] = {}

    def of(self, header: bytes) -> Target:
        """Return what `header` asks for.

        Raises:
            Internal: it is no message.
            InvalidArgument: its version is no number.
        """
        target = self._known.get(header)
        if target is None:
            request = parse(header)
            target = request.model_name, parse_version(request.model_version)
            if len(header) <= REMEMBERED_HEADER_SIZE:
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[header] = target
        return target


def decode(cut: Cut, runner: Runner, start_ns: int, regions: Regions = NO_REGIONS) -> tuple[InferRequest, ReplyPlan]:
    """Return the request in a message, and how to answer it.

    Fixed-size raw tensors are views of the message; tensors in shared memory are copies.

    Raises:
        JubakoError: the message is not a request for this model; Triton's class and words.
    """
    plan = runner.memo.get(cut.header)
    if isinstance(plan, Plan) and _fits(plan, cut):
        if plan.places:
            return _shared(cut, plan, runner, regions, start_ns)
        arrays = [
            np.ndarray(spec.shape, spec.datatype.dtype, cut.message, offset)
            if spec.datatype.size
            else _strings(memoryview(cut.message)[offset : offset + size], spec, runner.name, cut.id)
            for spec, (offset, size) in zip(plan.signature.inputs, cut.tensors, strict=False)
        ]
        return InferRequest(runner.name, runner.version, plan.signature, arrays, cut.id, start_ns), plan.reply
    return _Reading(cut, runner, regions).request(start_ns)


def _shared(cut: Cut, plan: Plan, runner: Runner, regions: Regions, start_ns: int) -> tuple[InferRequest, ReplyPlan]:
    """Return a repeated request with tensors in shared memory: what is there now, if its regions still are."""
    copies = Copies(regions, MAX_SHARED)
    entries = iter(cut.tensors)
    arrays = []
    for spec, place in zip(plan.signature.inputs, plan.places, strict=True):
        if place is None:
            offset, size = next(entries)
            raw = memoryview(cut.message)[offset : offset + size]
        else:
            raw = copies.take(spec.name, place)
        arrays.append(
            np.ndarray(spec.shape, spec.datatype.dtype, raw)
            if spec.datatype.size
            else _strings(raw, spec, runner.name, cut.id)
        )
    request = InferRequest(runner.name, runner.version, plan.signature, arrays, cut.id, start_ns)
    return request, _held(plan.reply, regions)


def _held(reply: ReplyPlan, regions: Regions) -> ReplyPlan:
    """Return `reply` with the slots of its outputs held, so that they outlast their regions' registration."""
    if not reply.places:
        return reply
    slots = {name: regions.slot(place) for name, place in reply.places.items()}
    return replace(reply, slots=slots)


def _fits(plan: Plan, cut: Cut) -> bool:
    """Whether the tensors have the sizes that the header promises; what is too much is ignored, as Triton does."""
    if len(cut.tensors) < len(plan.sizes):
        return False
    for promised, (_, size) in zip(plan.sizes, cut.tensors, strict=False):
        if promised is not None and promised != size:
            return False
    return True


def _strings(raw: memoryview, spec: TensorSpec, model: str, request_id: str) -> Array:
    try:
        return decode_bytes(raw, spec.shape, spec.name, model)
    except InvalidArgument as error:
        if str(error).startswith(CUT_STRING):
            raise
        raise InvalidArgument(f"{label(request_id)}{error}") from error


class _Reading:
    """One header being read for the first time. The order of the checks is Triton's."""

    def __init__(self, cut: Cut, runner: Runner, regions: Regions) -> None:
        self.cut = cut
        self.runner = runner
        self.regions = regions
        self.message = parse(cut.header)
        self.label = label(cut.id)

    def request(self, start_ns: int) -> tuple[InferRequest, ReplyPlan]:
        runner, message = self.runner, self.message
        parameters = request_parameters(message.parameters)
        self._check_count(len(message.inputs))
        self._check_count(len(message.outputs))
        shapes = self._shapes()
        outputs = self._outputs()
        classes, out_places = self._replies()
        raws, places = self._raws()
        specs = [
            TensorSpec(tensor.name, self._datatype(tensor), shape)
            for tensor, shape in zip(message.inputs, shapes, strict=True)
        ]
        arrays = [self._array(spec, raw) for spec, raw in zip(specs, raws, strict=True)]
        raw = bool(message.inputs) and not any(tensor.HasField("contents") for tensor in message.inputs)
        reusable = raw and len(self.cut.header) <= REMEMBERED_HEADER_SIZE
        signature = Signature(tuple(specs), outputs, tuple(map(len, raws)), reusable=reusable, **parameters.fields)
        decoupled = runner.config.model_transaction_policy.decoupled
        reply = ReplyPlan(classes, parameters.empty_final, decoupled, message.model_version, out_places)
        held = _held(reply, self.regions)
        request = InferRequest(runner.name, runner.version, signature, arrays, self.cut.id, start_ns)
        if reusable and all(array.shape == spec.shape for array, spec in zip(arrays, specs, strict=True)):
            of_raws = [_size(spec) for spec, place in zip(specs, places, strict=True) if place is None]
            shared = bool(out_places) or any(places)
            self._remember(Plan(signature, reply, of_raws, places if shared else ()))
        return request, held

    def _remember(self, plan: Plan) -> None:
        memo = self.runner.memo
        if len(memo) >= REMEMBERED:
            memo.clear()
        memo[self.cut.header] = plan

    def _check_count(self, count: int) -> None:
        if count > MAX_TENSORS:
            raise InvalidArgument(f"request names {count} tensors, which exceeds the maximum of {MAX_TENSORS}")

    def _shapes(self) -> list[tuple[int, ...]]:
        names: set[str] = set()
        shapes = []
        for tensor in self.message.inputs:
            if tensor.name in names:
                raise InvalidArgument(f"{self.label}input '{tensor.name}' already exists in request")
            names.add(tensor.name)
            shapes.append(tuple(tensor.shape))
        return shapes

    def _outputs(self) -> tuple[str, ...]:
        names: dict[str, None] = {}
        for output in self.message.outputs:
            if output.name in names:
                raise InvalidArgument(f"{self.label}output '{output.name}' already exists in request")
            names[output.name] = None
        return tuple(names)

    def _replies(self) -> tuple[dict[str, int], dict[str, Place]]:
        """Return how many classes outputs are cut to, and which go where in shared memory."""
        classes: dict[str, int] = {}
        places: dict[str, Place] = {}
        for output in self.message.outputs:
            place = place_of(output.parameters, output.name)
            count = classes_of(output.parameters)
            if place is not None:
                if count:
                    raise InvalidArgument("output can't set both 'shared_memory_region' and 'classification'")
                places[output.name] = place
            if count:
                classes[output.name] = count
        return classes, places

    def _raws(self) -> tuple[list[memoryview], list[Place | None]]:
        """Return each input's bytes, wherever they are (grpc.md section 3.1), and where that is in shared memory."""
        copies = Copies(self.regions, MAX_SHARED)
        places: list[Place | None] = []
        view = memoryview(self.cut.message)
        entries = iter(self.cut.tensors)
        raws = []
        for tensor in self.message.inputs:
            where = f"'{tensor.name}' for model '{self.runner.name}'"
            place = place_of(tensor.parameters, tensor.name)
            places.append(place)
            if place is not None:
                if tensor.HasField("contents"):
                    raise InvalidArgument(
                        f"unexpected 'content' provided when using shared memory for input tensor {where}"
                    )
                raws.append(copies.take(tensor.name, place))
                continue
            if tensor.HasField("contents"):
                if self.cut.tensors:
                    raise InvalidArgument(
                        f"contents field must not be specified when using raw_input_contents for {where}"
                    )
                datatype = BY_NAME.get(tensor.datatype)
                raws.append(memoryview(raw_form(tensor.contents, datatype, tensor.name, self.runner.name)))
                continue
            entry = next(entries, None)
            if entry is None:
                raise InvalidArgument(f"unable to find data for input tensor {where} in request.")
            raws.append(view[entry[0] : entry[0] + entry[1]])
        return raws, places

    def _datatype(self, tensor: pb.ModelInferRequest.InferInputTensor) -> Datatype:
        datatype = BY_NAME.get(tensor.datatype)
        if datatype is not None:
            return datatype
        known = self.runner.interface.inputs.get(tensor.name)
        if known is None:
            raise InvalidArgument(f"unexpected inference input '{tensor.name}' for model '{self.runner.name}'")
        raise InvalidArgument(
            f"{self.label}inference input '{tensor.name}' data-type is '<invalid>', but model '{self.runner.name}' "
            f"expects '{known.datatype.name}'"
        )

    def _array(self, spec: TensorSpec, raw: memoryview) -> Array:
        self._check_shape(spec)
        if spec.datatype.size is None:
            known = self.runner.interface.inputs.get(spec.name)
            if known is None or known.datatype is not spec.datatype:
                return np.empty(0, object)  # the admission is going to refuse it
            return _strings(raw, spec, self.runner.name, self.cut.id)
        if len(raw) != _size(spec):
            return np.empty(0, spec.datatype.dtype)  # this too
        return np.ndarray(spec.shape, spec.datatype.dtype, raw)

    def _check_shape(self, spec: TensorSpec) -> None:
        """Refuse what no array can have, whatever the model says.

        Raises:
            InvalidArgument: too many dimensions, negative ones, or some past all measure.
        """
        shape = spec.shape
        if len(shape) > MAX_DIMENSIONS:
            raise InvalidArgument(
                f"invalid shape for input '{spec.name}': {len(shape)} dimensions exceed the maximum of {MAX_DIMENSIONS}"
            )
        if min(shape, default=0) < 0:
            raise InvalidArgument(
                f"{self.label}All input dimensions should be specified for input '{spec.name}' for model "
                f"'{self.runner.name}', got {shape_text(shape)}"
            )
        element_count(shape, spec.name)
        if math.prod(size for size in shape if size) > MAX_ELEMENTS // 8:
            raise InvalidArgument(
                f"invalid shape for input '{spec.name}': shape {shape_text(shape)} contains one or more invalid "
                "dimensions"
            )


def _size(spec: TensorSpec) -> int | None:
    return None if spec.datatype.size is None else math.prod(spec.shape) * spec.datatype.size
