"""What protocols call: sample a request, read the settings, change them."""

import itertools
import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

from jubako.errors import InvalidArgument
from jubako.server import InferenceServer
from jubako.tracing.options import TraceOptions
from jubako.tracing.settings import Mode, TraceSetting, TraceSettings
from jubako.tracing.trace import Front, Trace
from jubako.tracing.wire import Texts, level_texts, parse_update

log = logging.getLogger("jubako.tracing")

Document = dict[str, str | list[str]]


class Output(Protocol):
    """Where traces go: a file in Triton's form, or an OpenTelemetry collector."""

    def context_of(self, traceparent: str | None, tracestate: str | None, /) -> Any:
        """Return a caller's context that asks for a trace; None where there is none."""

    def take(self, trace: Trace, /) -> None:
        """Take a trace that has ended. Blocks on nothing."""

    def retire(self, setting: TraceSetting, /) -> None:
        """Let go of what is still held for a setting that no request goes by any more."""

    async def close(self) -> None:
        """Write, or send, all that is held."""


class Sampler(Protocol):
    """What the path of a request needs of `Tracing`."""

    @property
    def active(self) -> bool:
        """Some request may be sampled: the one thing that is looked at for each of them."""

    def begin(
        self, model: str, front: Front, received_ns: int, traceparent: str | None = None, tracestate: str | None = None
    ) -> Trace | None:
        """Count a request, and return its trace if it is to have one."""


class _Untraced:
    active: Final = False

    def begin(
        self, model: str, front: Front, received_ns: int, traceparent: str | None = None, tracestate: str | None = None
    ) -> None:
        return None


UNTRACED: Final[Sampler] = _Untraced()


class Tracing:
    """Samples requests by the settings, which clients read and change."""

    def __init__(self, options: TraceOptions, output: Output, knows: Callable[[str], bool]) -> None:
        """`knows` says whether there is a model of that name."""
        self._options = options
        self._output = output
        self._knows = knows
        self._numbers = itertools.count(1)
        no_file = options.mode is Mode.TRITON and not options.file
        self._settings = TraceSettings(options.values, needs_file=no_file)
        self.active = self._settings.active
        if no_file and options.values.level:
            log.warning("no request is traced: --trace-config triton,file=<path> is not given")

    def begin(
        self, model: str, front: Front, received_ns: int, traceparent: str | None = None, tracestate: str | None = None
    ) -> Trace | None:
        """Count a request for `model`, and return its trace if it is to have one.

        The one who has it must `end` it, whatever becomes of the request.
        """
        setting = self._settings.of(model)
        context = self._output.context_of(traceparent, tracestate)
        if not setting.sample(forced=context is not None):
            return None
        return Trace(self._output, setting, next(self._numbers), model, front, received_ns, context)

    def document(self, model: str = "") -> Document:
        """Return the settings of the server, or of a model, as clients see them.

        Raises:
            InvalidArgument: there is no such model.
        """
        self.check_model(model)
        values = self._settings.of(model).now()
        document: Document = {
            "trace_level": level_texts(values),
            "trace_rate": str(values.rate),
            "trace_count": str(values.count),
        }
        if self._options.mode is Mode.TRITON:
            document |= {"log_frequency": str(values.log_frequency), "trace_file": self._options.file}
        return document | {"trace_mode": self._options.mode.value} | self._options.shown

    def update(self, model: str, texts: Texts) -> None:
        """Change the settings of the server (the empty name) or of a model; None clears a value.

        Raises:
            Unsupported: the file cannot be changed.
            InvalidArgument: there is no such model, or a value that does not fit.
        """
        self.check_model(model)
        update = parse_update(texts)
        if not update:
            return
        for retired in self._settings.update(model, update):
            retired.retired = True
            self._output.retire(retired)
        self.active = self._settings.active

    def check_model(self, model: str) -> None:
        """Do nothing if there is such a model, or the name is empty.

        Raises:
            InvalidArgument: there is none.
        """
        if model and not self._knows(model):
            raise InvalidArgument(f"Request for unknown model : {model}")

    async def close(self) -> None:
        """Sample nothing more, and write all that was."""
        self.active = False
        for setting in (self._settings.server, *self._settings.models.values()):
            setting.retired = True
            self._output.retire(setting)
        await self._output.close()


def ready_in(server: InferenceServer) -> Callable[[str], bool]:
    """Return what tells whether a model of that name is ready in `server`."""
    return lambda model: any(row.name == model for row in server.index(ready_only=True))
