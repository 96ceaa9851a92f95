"""The service as BentoML sees it: how requests come in, and what a worker does from its start to its end.

What stands in front of the data plane is put together in `JubakoService.to_asgi`, once, in a worker whose loop does not
run yet; the hooks of `Jubako` then run in that loop.
"""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import bentoml
from _bentoml_sdk.service import Service  # type: ignore[import-untyped]
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.service.openapi.specification import OpenAPISpecification
from bentoml.exceptions import BentoMLConfigException
from pydantic import Field
from starlette.types import ASGIApp

from jubako.backends.gpus import find_uuids
from jubako.bundle.addresses import http_address
from jubako.bundle.api import error_response, infer_lists
from jubako.bundle.arguments import NOT_BUILT, Arguments
from jubako.bundle.dispatch import BodyLimit, Dispatch, Surroundings, WithoutPrefix
from jubako.bundle.docs import with_v2
from jubako.bundle.grpc_port import GrpcPort
from jubako.bundle.metrics import complete_page
from jubako.bundle.models import Found, tell_supervisor_of_failure
from jubako.bundle.orphans import end_with_parent
from jubako.bundle.pages import GatedPages
from jubako.bundle.reports import ModelRow, Report, send
from jubako.bundle.stopping import Stopping
from jubako.bundle.translate import (
    Access,
    access_of,
    grpc_options_of,
    limits_of,
    metrics_options_of,
    server_options_of,
    trace_options_of,
)
from jubako.errors import JubakoError
from jubako.lifecycle import IndexRow
from jubako.log_settings import LogSettings
from jubako.metrics.page import Metrics
from jubako.protocols.grpc.aio import GrpcServer
from jubako.protocols.metrics_port import MetricsPort
from jubako.protocols.rest import lane
from jubako.protocols.rest.app import RestApp
from jubako.protocols.rest.gate import Gate, RuledGate
from jubako.protocols.rest.parts import Parts
from jubako.protocols.rest.traffic import Traffic
from jubako.protocols.settings import Settings
from jubako.protocols.shared_memory import Regions
from jubako.runner import State
from jubako.server import InferenceServer
from jubako.tracing.output import open_output
from jubako.tracing.tracing import Tracing, ready_in

log = logging.getLogger("jubako.bundle")
SERVICE_NAME = "jubako"
FAILED_TO_LOAD = "creating server: Internal - failed to load all models"


class JubakoService(Service[Any]):  # type: ignore[misc]
    """A BentoML service whose `/v2` is answered before BentoML's own middlewares."""

    arguments: Arguments
    found: Found
    server: InferenceServer
    metrics: Metrics
    traffic: Traffic
    regions: Regions
    log_settings: LogSettings
    tracing: Tracing
    access: Access
    gate: Gate
    grpc: GrpcPort

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """Return the worker's app, and have uvicorn take inference by the fast lane.

        The fast lane passes by every middleware; where the user of the service has put something in front of it, all
        of `/v2` goes through that instead.
        """
        self.access = access_of(self.arguments, os.environ)
        self.gate = gate = RuledGate(self.access.http)
        forwarding = self.access.http_forwarding
        limits = limits_of(self.arguments)
        gpu_uuids = find_uuids(os.environ)
        self.server = InferenceServer(server_options_of(self.arguments, list(range(len(gpu_uuids)))))
        self.metrics = Metrics(self.server, metrics_options_of(self.arguments), gpu_uuids)
        self.traffic = Traffic()
        self.regions = Regions(allowed=self.arguments.allow_client_shm)
        traces = trace_options_of(self.arguments, os.environ)
        self.tracing = Tracing(traces, open_output(traces), ready_in(self.server))
        settings = Settings(self.tracing, self.log_settings)
        parts = Parts(self.server, limits, gate, self.traffic, self.regions, forwarding, settings)
        v2 = RestApp(parts)
        around = self._surroundings()
        self.grpc = self._grpc_port(around)
        pages = BodyLimit(super().to_asgi(is_main), self.arguments.http_max_input_size)
        others = GatedPages(pages, gate, around.prefix)
        if forwarding:
            log.warning("inference does not take the fast lane: headers are forwarded (http_header_forward_pattern)")
        fast = self.arguments.http_fast_lane and not around.any
        lane.install(parts, fast=fast)
        if not around.any:
            return Dispatch(v2, others)
        log.warning("inference does not take the fast lane: it goes through %s", around)
        return Dispatch(around.wrap(WithoutPrefix(v2, around.prefix)), others, around.prefix)

    async def page_of_metrics(self, text: str) -> str:
        """Return BentoML's page of metrics (`text`) with ours in it."""
        if not self.arguments.allow_metrics:
            return text
        return await complete_page(text, self.metrics, self.traffic, self._surroundings().prefix)

    async def open_metrics_port(self) -> MetricsPort | None:
        """Serve the metrics on their own port, if they have one.

        Raises:
            JubakoError: nobody can listen there.
        """
        port = self.arguments.metrics_port
        if not (self.arguments.allow_metrics and port):
            return None
        address = self.arguments.metrics_address or http_address(os.environ)
        bounded = lane.protocol_class(Parts(self.server, limits_of(self.arguments), self.gate), fast=False)
        return await MetricsPort.open(address, port, self.metrics.text, bounded, self.gate)

    def _grpc_port(self, around: Surroundings) -> GrpcPort:
        """Return gRPC's port; it is not opened by default where HTTP has something in front that gRPC would pass by."""
        named = "grpc_port" in self.arguments.model_fields_set
        options = grpc_options_of(self.arguments, http_address(os.environ))
        if options is None:
            return GrpcPort(self.server, None, None)
        if around.middlewares and not named:
            log.warning("gRPC is not served: it would pass by %s; give grpc_port to have it all the same", around)
            return GrpcPort(self.server, None, None)
        settings = Settings(self.tracing, self.log_settings)
        access = self.access
        front = GrpcServer(self.server, options, access.grpc, self.regions, access.grpc_forwarding, settings)
        return GrpcPort(self.server, options, front, required=named or self.arguments.exit_on_error)

    @property
    def openapi_spec(self) -> OpenAPISpecification:
        """What BentoML's docs page shows, and a Bento carries."""
        return with_v2(super().openapi_spec)

    def _surroundings(self) -> Surroundings:
        cors = BentoMLContainer.http.cors.enabled.get()
        return Surroundings(
            middlewares=tuple(self.middlewares),
            cors=BentoMLContainer.access_control_options.get() if cors else None,
            path_prefix=self.path_prefix or "",
        )


class Jubako:
    """A Triton-style model repository behind the v2 inference protocol, at `/v2`."""

    bento_service: JubakoService  # BentoML sets it, once the object is made
    told: ClassVar[Arguments]
    """The arguments, for what runs before there is an object."""

    def __init__(self) -> None:
        self._loading: asyncio.Task[None] | None = None
        self._metrics_port: MetricsPort | None = None

    @bentoml.api  # type: ignore[untyped-decorator]
    async def infer(
        self,
        model: Annotated[str, Field(description="The model's name.")],
        inputs: Annotated[
            dict[str, Any], Field(description="Each input by its name, as nested lists, batch dimension first.")
        ],
        version: Annotated[int | str | None, Field(description="The highest ready version if none is given.")] = None,
        datatypes: Annotated[
            dict[str, str], Field(description="v2 datatypes of inputs, where the model's own is not meant.")
        ] = {},  # noqa: B006  (pydantic copies it)
        outputs: Annotated[list[str], Field(description="The outputs to return; all if none is named.")] = [],  # noqa: B006
    ) -> dict[str, Any]:
        """Run one inference and return each output by its name, as nested lists.

        It is the same inference as `POST /v2/models/{model}/infer`, and is batched together with those.
        """
        try:
            return await infer_lists(self.bento_service.server, model, inputs, version, datatypes, outputs)
        except JubakoError as error:
            return error_response(error)  # type: ignore[return-value]  # BentoML passes a response through

    async def __is_alive__(self) -> bool:
        return self.bento_service.server.live

    async def __is_ready__(self) -> bool:
        return self.bento_service.server.ready

    async def __metrics__(self, text: str) -> str:
        return await self.bento_service.page_of_metrics(text)

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def refuse_more_workers() -> None:
        """Refuse BentoML's own setting too; called in the supervisor, before any worker is started.

        Raises:
            BentoMLConfigException: more than one worker is configured.
        """
        workers = BentoMLContainer.config.services[SERVICE_NAME].get().get("workers")
        if workers not in {None, 1}:
            raise BentoMLConfigException(f"services.{SERVICE_NAME}.workers={workers}: {NOT_BUILT['workers'].why}")

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def find_secrets() -> None:
        """Look for the secrets of the access rules before any worker is started; a Bento is built without them.

        Raises:
            BentoMLConfigException: one is not there.
        """
        try:
            access_of(Jubako.told, os.environ)
        except JubakoError as error:
            raise BentoMLConfigException(str(error)) from None

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        """Take the signals over and begin to load; the server is live, and not ready, from here on."""
        end_with_parent()
        service = self.bento_service
        Stopping(
            service.grpc,
            service.arguments.exit_timeout_secs,
            on_expiry=lambda: send(Report("exit timeout"), os.environ),
        ).install()
        service.server.expect(service.found.snapshot)  # from the first answer on, a model that will load is known
        self._loading = asyncio.create_task(self._load())

    async def _load(self) -> None:
        service = self.bento_service
        if (why := await service.grpc.open()) is not None:
            send(Report("failed", reason=why), os.environ)
            _end_start(os.environ)
            return
        opened = await self._open_metrics_port()
        try:
            await service.server.load(service.found.snapshot)
        except Exception:  # nothing awaits this task before the end, and a server that is never ready must say why
            log.exception("loading the models broke")
        gc.collect()
        gc.freeze()  # what is loaded stays: full collections would look at all of it again and again
        rows = [_row(row) for row in service.server.index()]
        broken = not opened or any(row.status != State.READY.value for row in rows)
        failed = service.arguments.exit_on_error and broken
        if failed:
            log.error("error: %s", FAILED_TO_LOAD)
            _end_start(os.environ)
        send(Report("loaded", rows, failed, grpc_at=service.grpc.at), os.environ)

    async def _open_metrics_port(self) -> bool:
        """Serve the metrics on their own port; False if nobody can listen there."""
        service = self.bento_service
        if service.arguments.allow_metrics:
            await service.metrics.start()
        try:
            self._metrics_port = await service.open_metrics_port()
        except JubakoError as error:
            log.error("failed to start Metrics service: %s - %s", error.code, error)
            return False
        return True

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Unload everything; by now nothing is in flight."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        await self.bento_service.grpc.close()
        await self.bento_service.server.close()
        await self.bento_service.tracing.close()
        if self._metrics_port is not None:
            await self._metrics_port.close()


def _row(row: IndexRow) -> ModelRow:
    status = row.state.value if row.state is State.READY else f"{row.state.value}: {row.reason}"
    return ModelRow(row.name, "-" if row.version is None else str(row.version), status)


def _end_start(environ: Mapping[str, str]) -> None:
    """End the whole server: the supervisor would only start this worker again."""
    tell_supervisor_of_failure(environ)
    os.kill(os.getppid(), signal.SIGTERM)
