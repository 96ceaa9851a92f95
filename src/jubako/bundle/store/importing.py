"""A repository's model versions into the store.

An entry is put together in a private folder under `<BENTOML_HOME>/tmp`, flushed, and renamed to its place: it is there
whole or not at all, whenever the process is killed. One import runs at a time, under a file lock; whoever holds it is
the only living owner of such folders, so it may remove all that it finds. A start that finds everything in place takes
the lock only if it is free.
"""

import errno
import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from jubako.bundle.store.copying import remove, sync_folder
from jubako.bundle.store.digests import Digests, FileChanged
from jubako.bundle.store.entry import (
    Checkpoint,
    Plan,
    PlannedFile,
    Point,
    content_root,
    fault,
    tag_of,
    trust_entry,
    write_entry,
)
from jubako.bundle.store.home import Home
from jubako.bundle.store.latest import latest_is_right, write_latest
from jubako.bundle.store.manifest import FileRecord, require_inner
from jubako.errors import Unavailable
from jubako.repository import BrokenModel, Snapshot, StoredVersion

STAGING_PREFIX = "jubako-import-"
PATIENCE_S = 10.0  # between two log lines about another import
ATTEMPTS = 2  # a file that changes during both is still being written

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """A model version where the user keeps it.

    `files` are those of the model's folder that this version needs: (path relative to that folder, with forward
    slashes; where its bytes are).
    """

    model: str
    version: int
    repository: str
    files: Sequence[tuple[str, Path]]
    backend: str = ""


def import_all(
    found: Iterable[VersionFiles],
    home: Home | None = None,
    *,
    thorough: bool = False,
    checkpoint: Checkpoint | None = None,
    now_ns: Callable[[], int] = time.time_ns,
) -> Snapshot:
    """Return every version as an entry of the store, importing those that are not there yet.

    A model of which any version cannot be imported is broken as a whole (its files are in an unknown state), with the
    reason; the others go on. Entries that turn out damaged are imported again. `thorough` reads every byte of every
    entry to find damage; otherwise only files that changed since they were read last. Blocks, possibly for long.
    """
    run = _Import(home or Home.of_bentoml(), Digests(now_ns), checkpoint or _pass, thorough)
    return run.all(tuple(found))


def import_version(
    found: VersionFiles,
    home: Home | None = None,
    *,
    thorough: bool = False,
    checkpoint: Checkpoint | None = None,
    now_ns: Callable[[], int] = time.time_ns,
) -> StoredVersion:
    """Return one version as an entry of the store; else as `import_all`.

    Raises:
        Unavailable: it cannot be imported now.
    """
    snapshot = import_all([found], home, thorough=thorough, checkpoint=checkpoint, now_ns=now_ns)
    if snapshot.broken:
        raise Unavailable(snapshot.broken[0].reason)
    return snapshot.versions[0]


def _pass(point: Point) -> None:
    """Do nothing at this point."""


@dataclass(frozen=True, slots=True)
class _Import:
    """One run of `import_all`: what its steps share."""

    home: Home
    digests: Digests
    checkpoint: Checkpoint
    thorough: bool

    def all(self, found: Sequence[VersionFiles]) -> Snapshot:
        self.digests.read(self.home.digests)
        outcomes = [self._look(version) for version in found]
        if None in outcomes:
            try:
                with self._alone():
                    outcomes = [
                        self._ensure(version) if outcome is None else outcome
                        for version, outcome in zip(found, outcomes, strict=True)
                    ]
                    self.checkpoint(Point.DONE)
            except OSError as error:
                reason = f"the model store cannot be written: {error.strerror}"
                outcomes = [reason if outcome is None else outcome for outcome in outcomes]
        else:
            self._tidy_if_free()
        return _snapshot(found, outcomes)

    def _look(self, version: VersionFiles) -> "_Outcome | None":
        """Return the version if it is in the store, why it cannot be, or None: the import has to see to it."""
        try:
            plan = self._plan(version)
        except FileChanged:
            return None
        except (Unavailable, ValueError) as error:
            return str(error)
        entry = self._place(plan)
        in_place = self._fault(plan) is None and latest_is_right(entry.parent, entry)
        return self._stored(plan) if in_place else None

    def _ensure(self, version: VersionFiles) -> "_Outcome":
        """Return the version, imported if need be, or why it cannot be."""
        reason = ""
        for _ in range(ATTEMPTS):
            try:
                plan = self._plan(version)
                self._settle(plan)
                return self._stored(plan)
            except FileChanged as changed:
                for _, source in version.files:
                    self.digests.forget(source)
                names = [name for name, source in version.files if source == changed.args[0]]
                reason = f"file {names[0]!r} changed while it was imported; load the model once its files are complete"
            except (Unavailable, ValueError) as error:
                return str(error)
            except OSError as error:
                return f"version {version.version} cannot be copied into the model store: {_why(error)}"
        return reason

    def _plan(self, version: VersionFiles) -> Plan:
        """Return the entry that the version's files make now; reads those that are new or changed."""
        files = []
        for name, source in sorted(version.files):
            require_inner(name)
            try:
                seen, digest = self.digests.of(source)
            except OSError as error:
                raise Unavailable(f"file {name!r} cannot be read: {error.strerror}") from error
            files.append(PlannedFile(source, seen, FileRecord(name, seen.size, digest)))
        return Plan(version.model, version.version, version.repository, version.backend, files)

    def _settle(self, plan: Plan) -> None:
        """Have the entry in its place, and `latest` right."""
        place = self._place(plan)
        wrong = self._fault(plan)
        if wrong is not None:
            if place.exists():
                logger.warning("entry %s is damaged and is imported again: %s", self._tag(plan), wrong)
            self._enter(plan, place)
            logger.info("imported '%s' version %d as %s", plan.model, plan.version, self._tag(plan))
        if not latest_is_right(place.parent, place):
            with self._staging() as staging:
                write_latest(place.parent, staging, self.checkpoint)

    def _enter(self, plan: Plan, place: Path) -> None:
        with self._staging() as staging:
            self.checkpoint(Point.STAGED)
            entry = staging / "entry"
            manifest = write_entry(entry, plan, self.checkpoint)
            place.parent.mkdir(parents=True, exist_ok=True)
            self.checkpoint(Point.NAME_MADE)
            with suppress(FileNotFoundError):
                place.rename(staging / "broken")  # who has its files open keeps them
            self.checkpoint(Point.BROKEN_MOVED)
            entry.rename(place)
            sync_folder(place.parent)
            sync_folder(self.home.models)
            self.checkpoint(Point.ENTERED)
            trust_entry(place, manifest, self.digests)

    def _fault(self, plan: Plan) -> str | None:
        return fault(self._place(plan), self.digests, digest=plan.digest, thorough=self.thorough)

    def _place(self, plan: Plan) -> Path:
        return self.home.models.joinpath(*tag_of(plan.model, plan.version, plan.digest))

    def _tag(self, plan: Plan) -> str:
        return ":".join(tag_of(plan.model, plan.version, plan.digest))

    def _stored(self, plan: Plan) -> StoredVersion:
        return StoredVersion(
            model=plan.model,
            version=plan.version,
            repository=plan.repository,
            digest=plan.digest,
            tag=self._tag(plan),
            root=content_root(self._place(plan), plan.version),
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the import lock; inside, nobody else's unfinished entries exist.

        Raises:
            OSError: there can be no lock file.
        """
        self.home.lock.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.home.lock)
        while True:
            try:
                lock.acquire(timeout=PATIENCE_S)
                break
            except Timeout:
                logger.info("waiting for another import into %s", self.home.models)
        try:
            self.checkpoint(Point.LOCKED)
            self.digests.read(self.home.digests)
            self._sweep()
            yield
        finally:
            self.digests.save(self.home.digests)
            lock.release()

    def _tidy_if_free(self) -> None:
        """Remove what killed imports left and keep the new digests, unless an import runs: it does the first itself."""
        with suppress(OSError):  # Timeout is one; so is a read-only home, where there is nothing to tidy
            self.home.lock.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.home.lock, timeout=0):
                self._sweep()
                self.digests.save(self.home.digests)

    def _sweep(self) -> None:
        for stale in self.home.staging.glob(f"{STAGING_PREFIX}*"):
            remove(stale)

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """An empty private folder beside the store, gone afterwards with all that is left in it."""
        self.home.staging.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=self.home.staging))
        try:
            yield folder
        finally:
            remove(folder)


_Outcome = StoredVersion | str  # the version in the store, or why it is not there


def _why(error: OSError) -> str:
    if error.errno == errno.EXDEV:
        return "BENTOML_HOME/tmp and BENTOML_HOME/models must be on one file system"
    return error.strerror or type(error).__name__


def _snapshot(found: Sequence[VersionFiles], outcomes: Sequence[_Outcome | None]) -> Snapshot:
    broken: dict[tuple[str, str], BrokenModel] = {}
    for version, outcome in zip(found, outcomes, strict=True):
        if isinstance(outcome, str):
            key = (version.repository, version.model)
            broken.setdefault(key, BrokenModel(version.model, version.repository, outcome))
    whole = (stored for stored in outcomes if isinstance(stored, StoredVersion))
    return Snapshot(
        versions=tuple(stored for stored in whole if (stored.repository, stored.model) not in broken),
        broken=tuple(broken.values()),
    )
