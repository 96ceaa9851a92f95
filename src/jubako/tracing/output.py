"""Where the traces of a server go, as its options say."""

from importlib.util import find_spec
from typing import Final

from jubako.errors import InvalidArgument
from jubako.tracing.file import TraceFile
from jubako.tracing.options import TraceOptions
from jubako.tracing.settings import Mode
from jubako.tracing.tracing import Output

EXPORTER: Final = "opentelemetry.exporter.otlp.proto.http"


def check_output(options: TraceOptions) -> None:
    """Find out, without importing anything large, whether `open_output` can do its work.

    Raises:
        InvalidArgument: a package that it needs is not installed.
    """
    if options.mode is Mode.OPENTELEMETRY and not _installed(EXPORTER):
        raise InvalidArgument(
            "--trace-config mode=opentelemetry needs the package opentelemetry-exporter-otlp-proto-http; it comes with "
            "`pip install 'jubako[tracing]'`"
        )


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even its parent
        return False


def open_output(options: TraceOptions) -> Output:
    """Return where traces go; `close` it at the end."""
    if options.mode is Mode.TRITON:
        return TraceFile(options.file)
    from jubako.tracing.spans import Spans, otlp_exporter

    return Spans(options, otlp_exporter(options.url))
