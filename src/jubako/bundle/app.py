"""The service itself: `bentoml serve jubako.bundle.app:service`.

Importing this module settles the arguments and, in the process that builds or supervises, brings the models into the
store. A mistake there ends the command with one line that names it.
"""

import logging
import os
from pathlib import Path

import bentoml
from bentoml._internal.context import server_context
from bentoml.exceptions import InvalidArgument as BadArgument
from bentoml.models import BentoModel

import jubako
from jubako.bundle.addresses import tell_address
from jubako.bundle.arguments import Settled, settle
from jubako.bundle.image import image_for
from jubako.bundle.log_format import install
from jubako.bundle.models import Found, find_models, tell_workers
from jubako.bundle.reports import Report, send
from jubako.bundle.service import SERVICE_NAME, Jubako, JubakoService
from jubako.bundle.translate import log_settings_of, server_options_of, trace_options_of
from jubako.errors import JubakoError
from jubako.log_settings import LogSettings

log = logging.getLogger("jubako.bundle")


def _settle() -> Settled:
    settled = settle(vars(bentoml.use_arguments()), os.environ)
    server_options_of(settled.arguments, [])  # a mistake ends this process here, not every worker at its start
    trace_options_of(settled.arguments, os.environ)
    return settled


def _start_logging(settled: Settled) -> LogSettings:
    settings = log_settings_of(settled.arguments)
    install(settings, as_json=settled.arguments.log_json)
    return settings


def _find(settled: Settled) -> Found:
    worker = server_context.worker_index is not None
    if worker:
        send(Report("starting"), os.environ)
    else:
        _announce(settled)
        tell_address(os.environ)
    found = find_models(settled, os.environ, worker=worker)
    if not worker:
        log.info("%d model versions come from %s", len(found.snapshot.versions), found.origin.value)
        tell_workers(found.snapshot)
    return found


def _announce(settled: Settled) -> None:
    log.info("jubako %s from %s", jubako.__version__, Path(jubako.__file__).parent)
    for line in settled.lines():
        log.info("arguments: %s", line)
    for warning in settled.warnings:
        log.warning("%s", warning)


try:
    _settled = _settle()
    _log_settings = _start_logging(_settled)
    _found = _find(_settled)
except JubakoError as error:
    raise BadArgument(str(error)) from error

service: JubakoService = bentoml.service(
    name=SERVICE_NAME, service_class=JubakoService, image=image_for(_found.backends)
)(Jubako)
service.arguments = Jubako.told = _settled.arguments
service.found = _found
service.log_settings = _log_settings
service.models.extend(BentoModel(version.tag) for version in _found.snapshot.versions)
