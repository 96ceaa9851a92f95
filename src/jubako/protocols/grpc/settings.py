"""TraceSetting and LogSettings (grpc.md section 7): message in, message out."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from google.protobuf.message import Message
from tritonclient.grpc import service_pb2 as pb

from jubako.errors import InvalidArgument
from jubako.log_settings import FILE, FORMAT, NAMES, SWITCHES, VERBOSE_LEVEL
from jubako.protocols.access import Group
from jubako.protocols.grpc.servicer import SERVICE, Method
from jubako.protocols.settings import Settings
from jubako.server import InferenceServer

CHOICES: Final = {
    FILE: ("string_param", "string"),
    **dict.fromkeys(SWITCHES, ("bool_param", "boolean")),
    VERBOSE_LEVEL: ("uint32_param", "int32"),
    FORMAT: ("string_param", "string"),
}
"""By setting: the field that its value must come in, and Triton's word for its type."""
Answer = Callable[[InferenceServer, Any], Awaitable[Message]]


def settings_methods(settings: Settings) -> list[Method]:
    """Return the RPCs of `settings`."""

    async def trace(_: InferenceServer, request: pb.TraceSettingRequest) -> pb.TraceSettingResponse:
        return _trace_setting(settings, request)

    async def logs(_: InferenceServer, request: pb.LogSettingsRequest) -> pb.LogSettingsResponse:
        return _log_settings(settings, request)

    return [
        Method(f"/{SERVICE}/TraceSetting", Group.TRACE, pb.TraceSettingRequest, trace),
        Method(f"/{SERVICE}/LogSettings", Group.LOGGING, pb.LogSettingsRequest, logs),
    ]


def _trace_setting(settings: Settings, request: pb.TraceSettingRequest) -> pb.TraceSettingResponse:
    tracing = settings.tracing
    tracing.update(request.model_name, {name: list(entry.value) or None for name, entry in request.settings.items()})
    response = pb.TraceSettingResponse()
    for name, value in tracing.document(request.model_name).items():
        response.settings[name].value.extend([value] if isinstance(value, str) else value)
    return response


def _log_settings(settings: Settings, request: pb.LogSettingsRequest) -> pb.LogSettingsResponse:
    logs = settings.logs
    for name in NAMES:
        if name in request.settings:
            field, word = CHOICES[name]
            entry = request.settings[name]
            if name != FILE and entry.WhichOneof("parameter_choice") != field:
                raise InvalidArgument(f"expect {word} for '{name}'")
            logs.set(name, getattr(entry, field))
    response = pb.LogSettingsResponse()
    for name, value in logs.document().items():
        setattr(response.settings[name], CHOICES[name][0], value)
    return response
