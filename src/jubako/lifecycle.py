"""Which versions are loaded, and what becomes of each.

A broken model never stops the others: what went wrong is its row's reason in the index, and one line in the log.
"""

import asyncio
import logging
import time
from collections.abc import Collection
from dataclasses import dataclass

from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.backends.registry import BackendRegistry
from jubako.config.ensemble import load_order, not_available, not_loaded
from jubako.errors import Internal, InvalidArgument, JubakoError, NotFound, Unavailable
from jubako.loading import LoadOptions, load_ensemble, load_runner, plan_load, read_dependencies
from jubako.repository import Snapshot, StoredVersion
from jubako.request import LATEST, InferRequest, Reply, Ticket
from jubako.runner import Runner, State
from jubako.statistics import Refusal

log = logging.getLogger("jubako.lifecycle")


@dataclass(frozen=True, slots=True)
class IndexRow:
    """A row of the repository index; without a version where none could be told."""

    name: str
    version: int | None
    state: State
    reason: str = ""


@dataclass(slots=True)
class _Record:
    name: str
    version: int
    state: State = State.LOADING
    reason: str = ""
    runner: Runner | None = None


class Lifecycle:
    """The versions that a server knows. Lives in the loop's thread; files are read and models loaded in others."""

    def __init__(self, options: LoadOptions) -> None:
        self._options = options
        self._backends = BackendRegistry(options.backends)
        self._records: dict[tuple[str, int], _Record] = {}
        self._broken: dict[str, str] = {}
        self._ready: dict[tuple[str, int], Runner] = {}
        self._loads: set[asyncio.Task[None]] = set()
        self._closed = False
        self.settled = False
        """The first load is over, however it went."""

    # --- look-ups -------------------------------------------------------------------------------------------------

    def runner(self, name: str, version: int = LATEST) -> Runner:
        """Return a ready version; `LATEST` asks for the highest.

        Raises:
            NotFound: no such model or version, or none ready.
            Unavailable: known but not ready.
        """
        runner = self._ready.get((name, version))
        if runner is None:
            raise self._why_not(name, version)
        return runner

    def refuse(self, name: str, version: int, reason: Refusal) -> None:
        """Count a request that a ready version will not be given."""
        runner = self._ready.get((name, version))
        if runner is not None:
            runner.statistics.refused(reason)

    def _why_not(self, name: str, version: int) -> JubakoError:
        asked = f"Request for unknown model: '{name}'"
        if not self.knows(name):
            return NotFound(f"{asked} is not found")
        if version == LATEST:
            # Triton opens its ports after the first load, so it has no word for this: 503, so that clients try again.
            if any(r.name == name and r.state is State.LOADING for r in self._records.values()):
                return Unavailable(f"{asked} is not at ready state")
            return NotFound(f"{asked} has no available versions")
        if (name, version) not in self._records:
            return NotFound(f"{asked} version {version} is not found")
        return Unavailable(f"{asked} version {version} is not at ready state")

    def knows(self, name: str) -> bool:
        """The model was in the repository, whatever became of it."""
        return name in self._broken or any(known == name for known, _ in self._records)

    def ready_runners(self) -> list[Runner]:
        """Return every ready version, by name and version."""
        return [runner for (_, version), runner in sorted(self._ready.items(), key=_by_key) if version != LATEST]

    def ready_versions(self, name: str) -> list[int]:
        """Return a model's ready versions, ascending."""
        return [runner.version for runner in self.ready_runners() if runner.name == name]

    @property
    def all_ready(self) -> bool:
        """Every version is ready, and no model is broken."""
        return not self._broken and all(record.state is State.READY for record in self._records.values())

    def index(self, ready_only: bool) -> list[IndexRow]:
        """Return a row for each known version, by name and version."""
        rows = [IndexRow(r.name, r.version, r.state, r.reason) for r in self._records.values()]
        rows += [IndexRow(name, None, State.UNAVAILABLE, reason) for name, reason in self._broken.items()]
        if ready_only:
            rows = [row for row in rows if row.state is State.READY]
        return sorted(rows, key=lambda row: (row.name, row.version or 0))

    # --- loading --------------------------------------------------------------------------------------------------

    def expect(self, snapshot: Snapshot) -> None:
        """Know the versions of `snapshot` from now on, as loading: `load` is about to be called with it."""
        for stored in snapshot.versions:
            self._new_record(stored)

    async def load(self, snapshot: Snapshot) -> None:
        """Load every version of `snapshot`, some at a time; return when each is ready or has failed.

        When it is cancelled, versions that are ready by then stay so, and the others end as soon as they have loaded.

        Raises:
            Unavailable: `close` was called before.
        """
        if self._closed:
            raise Unavailable("Server is stopping, no more models are loaded")
        for broken in snapshot.broken:
            self._broken[broken.model] = broken.reason
            log.error("failed to load '%s': %s", broken.model, broken.reason)
        slots = asyncio.Semaphore(self._options.model_load_thread_count)
        records = [self._new_record(stored) for stored in snapshot.versions]
        needs = await asyncio.to_thread(read_dependencies, snapshot.versions)
        order = load_order(needs)
        by_model: dict[str, list[tuple[_Record, StoredVersion]]] = {}
        for record, stored in zip(records, snapshot.versions, strict=True):
            by_model.setdefault(record.name, []).append((record, stored))
        for model, circle in order.circular.items():
            for record, _ in by_model[model]:
                self._failed(record, InvalidArgument(circle))
        begun: dict[str, list[asyncio.Task[None]]] = {}
        async with asyncio.TaskGroup() as tasks:
            for model in order.models if not self._closed else ():
                before = [task for needed in needs[model] for task in begun.get(needed, ())]
                for record, stored in by_model[model]:
                    task = tasks.create_task(self._load_one(record, stored, slots, before))
                    begun.setdefault(model, []).append(task)
                    self._loads.add(task)
                    task.add_done_callback(self._loads.discard)
        self.settled = True

    def _new_record(self, stored: StoredVersion) -> _Record:
        record = self._records[stored.model, stored.version] = _Record(stored.model, stored.version)
        return record

    async def _load_one(
        self,
        record: _Record,
        stored: StoredVersion,
        slots: asyncio.Semaphore,
        before: Collection[asyncio.Task[None]],
    ) -> None:
        """Load a version once the loads `before` are over, however they went."""
        if before:
            await asyncio.wait(before)
        async with slots:
            log.info("loading: %s:%d", record.name, record.version)
            try:
                runner = await self._make_runner(stored)
            except JubakoError as error:
                self._failed(record, error)
            except Exception as error:  # a backend's own code: one broken model never stops the others
                log.exception("loading '%s' version %d broke", record.name, record.version)
                self._failed(record, Internal(f"{type(error).__name__}: {error}"))
            else:
                self._publish(record, runner)

    def _failed(self, record: _Record, error: JubakoError) -> None:
        record.state = State.UNAVAILABLE
        record.reason = f"{error.code}: {error}"
        log.error("failed to load '%s' version %d: %s", record.name, record.version, record.reason)

    def _publish(self, record: _Record, runner: Runner) -> None:
        record.state = State.READY
        record.runner = runner
        self._ready[record.name, record.version] = runner
        newest = max(version for name, version in self._ready if name == record.name and version != LATEST)
        self._ready[record.name, LATEST] = self._ready[record.name, newest]
        log.info("successfully loaded '%s' version %d in %.3f s", record.name, record.version, runner.load_ns / 1e9)

    async def _make_runner(self, stored: StoredVersion) -> Runner:
        started_ns = time.monotonic_ns()
        plan = await asyncio.to_thread(plan_load, stored, self._backends, self._options)
        for warning in plan.warnings:
            log.warning("%s", warning)
        backend = plan.backend
        if backend is None:
            steps = self._runners_of_steps(plan.config)
            runner = load_ensemble(plan, stored.version, steps, self._submit, self._options.runner)
        else:
            runner = await load_runner(
                plan.config,
                stored.version,
                plan.labels,
                plan.placements,
                lambda placement: backend.load(plan.config, plan.files, placement),
                self._options.runner,
                plan.warmup,
            )
        runner.load_ns = time.monotonic_ns() - started_ns
        return runner

    # --- ensembles ------------------------------------------------------------------------------------------------

    def _submit(self, request: InferRequest, reply: Reply) -> Ticket:
        """Give a step's request to its model, while the server drains too."""
        return self.runner(request.model_name, request.model_version).submit(request, reply)

    def _runners_of_steps(self, config: ModelConfig) -> list[Runner]:
        """Return the runner of each step's model.

        Raises:
            InvalidArgument: one is not there, or did not load.
        """
        steps = config.ensemble_scheduling.step
        known = {name for name, _ in self._records}
        absent = [step.model_name for step in steps if step.model_name not in known]
        if absent:
            raise not_available(config.name, dict.fromkeys(absent))
        runners = [self._ready.get((step.model_name, step.model_version)) for step in steps]
        for step, runner in zip(steps, runners, strict=True):
            if runner is None:
                failed = {r.version: r.reason for r in self._records.values() if r.name == step.model_name}
                raise not_loaded(config.name, step.model_name, step.model_version, failed)
        return [runner for runner in runners if runner is not None]

    # --- stopping -------------------------------------------------------------------------------------------------

    async def drained(self) -> None:
        """Wait until no request is queued or running."""
        for runner in sorted(self.ready_runners(), key=lambda runner: runner.ensemble is None):  # they feed the others
            await runner.drained()

    async def close(self) -> None:
        """Unload everything; what still waits is refused.

        What still loads is not waited for: its thread closes it as soon as it has loaded. Idempotent, and each caller
        waits for the end.
        """
        if not self._closed:  # once: a second cancel would only disturb the clearing up after the first
            self._closed = True
            for load in self._loads:
                load.cancel()
        self._ready.clear()
        records = [record for record in self._records.values() if record.state in (State.LOADING, State.READY)]
        for record in records:
            record.state, record.reason = State.UNAVAILABLE, "unloaded"
        runners = [record.runner for record in self._records.values() if record.runner is not None]
        ends = await asyncio.gather(*(runner.close() for runner in runners), *self._loads, return_exceptions=True)
        for error in ends:
            if isinstance(error, Exception):
                log.error("closing a model broke", exc_info=error)
        for record in self._records.values():
            record.runner = None


def _by_key(item: tuple[tuple[str, int], Runner]) -> tuple[str, int]:
    return item[0]
