"""The engine: `grpc.aio` in the loop of the data plane. The only module that knows how gRPC for Python works.

Inference comes and goes as bytes; gRPC's own (de)serialisers are not used for it.
"""

import asyncio
import errno
import socket
from typing import Any, Final

import grpc  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection, reflection_pb2  # type: ignore[import-untyped]
from grpc_reflection.v1alpha._async import ReflectionServicer  # type: ignore[import-untyped]

from jubako.errors import Internal, InvalidArgument, JubakoError, Unavailable
from jubako.protocols.access import METADATA_PREFIX, OPEN, AccessRules, Group
from jubako.protocols.forwarding import NO_FORWARDING, Forwarding, Sent
from jubako.protocols.grpc.infer import STOPPING, Inference, unexpected
from jubako.protocols.grpc.options import GrpcOptions, Tls, channel_arguments
from jubako.protocols.grpc.servicer import HEALTH, METHODS, SERVICE, Method, shared_memory_methods
from jubako.protocols.grpc.settings import settings_methods
from jubako.protocols.grpc.status import message_of, status_of
from jubako.protocols.grpc.stream import InferStream
from jubako.protocols.settings import NO_SETTINGS, Settings
from jubako.protocols.shared_memory import NO_REGIONS, Regions
from jubako.server import InferenceServer

INFER: Final = f"/{SERVICE}/ModelInfer"
STREAM_INFER: Final = f"/{SERVICE}/ModelStreamInfer"
REFLECTION: Final = f"/{reflection.SERVICE_NAME}/ServerReflectionInfo"
STATUSES: Final = "triton_grpc_error"
Context = Any  # grpc.aio.ServicerContext, which has no types


class GrpcServer:
    """The gRPC front of `server`, from `start` to `stop`. Lives in the loop's thread."""

    def __init__(
        self,
        server: InferenceServer,
        options: GrpcOptions,
        access: AccessRules = OPEN,
        regions: Regions = NO_REGIONS,
        forwarding: Forwarding = NO_FORWARDING,
        settings: Settings = NO_SETTINGS,
    ) -> None:
        self._options = options
        self._calls = _Calls(server, access, regions, forwarding, settings)
        self._grpc: Any = None
        self.port = options.port
        """Where it listens; the port that was found free where 0 was asked for."""

    async def start(self) -> None:
        """Listen, and answer from now on.

        Raises:
            Unavailable: the port is taken.
            InvalidArgument: it cannot be listened to, or the certificates are none.
        """
        options = self._options
        self._grpc = grpc.aio.server(options=channel_arguments(options))
        self._grpc.add_generic_rpc_handlers((self._calls,))
        credentials = None if options.tls is None else await asyncio.to_thread(_credentials, options.tls)
        try:
            if credentials is None:
                self.port = self._grpc.add_insecure_port(options.target)
            else:
                self.port = self._grpc.add_secure_port(options.target, credentials)
        except RuntimeError as error:
            raise _why_not(options) from error
        await self._grpc.start()

    async def stop(self, grace_s: float) -> None:
        """End the streams once their requests are answered, then close; what lasts longer than `grace_s` is cut off."""
        if self._grpc is not None:
            self._calls.stop()
            await self._grpc.stop(grace_s)
            self._grpc = None


def _why_not(options: GrpcOptions) -> JubakoError:
    """Return why nobody can listen there, which gRPC tells its log only."""
    try:
        family = socket.AF_INET6 if ":" in options.address else socket.AF_INET
        socket.create_server((options.address, options.port), family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return Unavailable(f"Socket '{options.target}' already in use ")
        return InvalidArgument(f"cannot listen at '{options.target}': {error}")
    return InvalidArgument(
        f"cannot listen at '{options.target}': are the certificates and the key in PEM, and do they fit?"
    )


def _credentials(tls: Tls) -> Any:
    try:
        root = tls.root.read_bytes() if tls.root is not None else None
        pair = tls.key.read_bytes(), tls.certificate.read_bytes()
    except OSError as error:
        raise InvalidArgument(f"cannot read '{error.filename}': {error.strerror}") from error
    return grpc.ssl_server_credentials(
        [pair],
        root_certificates=root,
        require_client_auth=tls.mutual,
    )


class _Calls(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Which path is which call, asked once for each before its body is read."""

    def __init__(
        self,
        server: InferenceServer,
        access: AccessRules,
        regions: Regions,
        forwarding: Forwarding,
        settings: Settings,
    ) -> None:
        self._access = access
        self._forwarding = forwarding
        self._sampler = settings.sampler
        self._inference = Inference(server, regions, forwarding, self._sampler)
        self._streams: set[InferStream] = set()
        self._stopping = False
        self._handlers: dict[str, tuple[Group, Any]] = {
            INFER: (Group.INFERENCE, grpc.unary_unary_rpc_method_handler(self._infer)),
            STREAM_INFER: (Group.INFERENCE, grpc.stream_stream_rpc_method_handler(self._stream_infer)),
            REFLECTION: (Group.METADATA, _reflection_handler()),
        }
        for method in (*METHODS, *shared_memory_methods(regions), *settings_methods(settings)):
            self._handlers[method.path] = (method.group, _unary_handler(server, method))

    def service(self, handler_call_details: Any) -> Any:
        """Return what answers a call; None where there is no such method."""
        found = self._handlers.get(handler_call_details.method)
        if found is None:
            return None
        group, handler = found
        if self._access.keys:
            metadata = handler_call_details.invocation_metadata
            missing = self._access.missing(group, lambda name: _values(metadata, METADATA_PREFIX + name))
            if missing is not None:
                return _refusal(
                    Unavailable(f"This protocol is restricted, expecting header '{METADATA_PREFIX}{missing}'")
                )
        if group is Group.INFERENCE and (self._stopping or self._inference.stopping):
            return _refusal(Unavailable(STOPPING))
        return handler

    def stop(self) -> None:
        """Refuse new inference, and bring the open streams to their end."""
        self._stopping = True
        for stream in list(self._streams):
            stream.stop()

    def _sent(self, context: Context) -> Sent:
        """Return the metadata of a call where it may matter: reading it costs more than most of a call."""
        return _text(context.invocation_metadata()) if self._forwarding or self._sampler.active else ()

    async def _infer(self, message: bytes, context: Context) -> bytes:
        answer: asyncio.Future[bytes | JubakoError] = asyncio.get_running_loop().create_future()

        def take(result: bytes | JubakoError) -> None:
            if not answer.done():
                answer.set_result(result)

        ticket = self._inference.infer(message, take, self._sent(context))
        del message
        try:
            result = await answer
        except asyncio.CancelledError:  # the client left, or its deadline passed
            if ticket is not None:
                ticket.cancel()
            raise
        if isinstance(result, bytes):
            return result
        await context.abort(status_of(result), message_of(result))
        raise AssertionError("abort raises")

    async def _stream_infer(self, _: Any, context: Context) -> None:
        awake = asyncio.Event()
        statuses = dict(context.invocation_metadata()).get(STATUSES) == "true"
        stream = InferStream(self._inference, awake.set, statuses=statuses, sent=self._sent(context))
        self._streams.add(stream)
        if self._stopping:  # it was let in just before
            stream.stop()
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(_read(stream, context, room := asyncio.Event()))
                while not stream.ended:
                    if (message := stream.take()) is not None:
                        room.set()
                        await context.write(message)
                        continue
                    awake.clear()
                    await awake.wait()
                reading.cancel()
        finally:
            if not stream.ended:
                stream.cancel()
            self._streams.discard(stream)
        if stream.error is not None:
            await context.abort(status_of(stream.error), message_of(stream.error))


async def _read(stream: InferStream, context: Context, room: asyncio.Event) -> None:
    """Read requests until the client has no more, as fast as it reads the answers."""
    while (message := await context.read()) is not grpc.aio.EOF:
        stream.put(message)
        while not stream.has_room:
            room.clear()
            await room.wait()
    stream.half_close()


def _values(metadata: Any, wanted: str) -> list[bytes]:
    """Return all that was sent under a name; gRPC itself keeps names in lower case and values in ASCII."""
    return [value.encode() if isinstance(value, str) else value for name, value in metadata if name == wanted]


def _text(metadata: Any) -> list[tuple[str, str]]:
    """Return what is text of a call's metadata."""
    return [(name, value) for name, value in metadata if isinstance(value, str)]


def _unary_handler(server: InferenceServer, method: Method) -> Any:
    async def answer(message: bytes, context: Context) -> Any:
        try:
            return await method.answer(server, _parsed(method, message))
        except JubakoError as error:
            refusal = error
        except Exception as error:
            refusal = unexpected(method.path, error)
        await context.abort(status_of(refusal), message_of(refusal))

    return grpc.unary_unary_rpc_method_handler(
        answer,
        response_serializer=lambda message: message.SerializeToString(),
    )


def _parsed(method: Method, message: bytes) -> Any:
    try:
        return method.request.FromString(message)
    except DecodeError as error:
        raise Internal("Unable to parse request") from error


def _refusal(error: JubakoError) -> Any:
    """Return what answers any call with `error`, without reading it."""

    async def refuse(_: Any, context: Context) -> None:
        await context.abort(status_of(error), message_of(error))

    return grpc.stream_stream_rpc_method_handler(refuse)


def _reflection_handler() -> Any:
    """Server reflection (`grpc.reflection.v1alpha`), by which grpcurl and the like find the services."""
    servicer = ReflectionServicer((SERVICE, HEALTH, reflection.SERVICE_NAME))
    return grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
