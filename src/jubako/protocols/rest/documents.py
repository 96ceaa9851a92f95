"""The control plane's answers as JSON, keys in Triton's order (http.md sections 3 and 7)."""

from collections.abc import Sequence
from typing import Any

from jubako.lifecycle import IndexRow
from jubako.request import TensorSpec
from jubako.server import ModelMetadata, VersionStatistics
from jubako.statistics import BatchStatistics, Duration, ModelStatistics

Document = dict[str, Any]


def server_metadata(name: str, version: str, extensions: Sequence[str]) -> Document:
    """Return the server's name, version and extensions."""
    return {"name": name, "version": version, "extensions": list(extensions)}


def model_metadata(metadata: ModelMetadata) -> Document:
    """Return a model's face."""
    return {
        "name": metadata.name,
        "versions": [str(version) for version in metadata.versions],
        "platform": metadata.platform,
        "inputs": [_tensor(spec) for spec in metadata.inputs],
        "outputs": [_tensor(spec) for spec in metadata.outputs],
    }


def _tensor(spec: TensorSpec) -> Document:
    return {"name": spec.name, "datatype": spec.datatype.name, "shape": list(spec.shape)}


def statistics(versions: Sequence[VersionStatistics]) -> Document:
    """Return what each version has counted."""
    return {"model_stats": [_version(version) for version in versions]}


def _version(version: VersionStatistics) -> Document:
    counted = version.statistics
    return {
        "name": version.name,
        "version": str(version.version),
        "last_inference": counted.last_inference_ms,
        "inference_count": counted.inference_count,
        "execution_count": counted.execution_count,
        "inference_stats": _durations(counted),
        "response_stats": {},
        "batch_stats": [_batch(rows, counted.batches[rows]) for rows in sorted(counted.batches)],
        "memory_usage": [],
    }


def _durations(counted: ModelStatistics) -> Document:
    return {
        "success": _duration(counted.success),
        "fail": _duration(counted.fail),
        "queue": _duration(counted.queue),
        "compute_input": _duration(counted.compute_input),
        "compute_infer": _duration(counted.compute_infer),
        "compute_output": _duration(counted.compute_output),
        "cache_hit": _duration(counted.cache_hit),
        "cache_miss": _duration(counted.cache_miss),
    }


def _batch(rows: int, batch: BatchStatistics) -> Document:
    return {
        "batch_size": rows,
        "compute_input": _duration(batch.compute_input),
        "compute_infer": _duration(batch.compute_infer),
        "compute_output": _duration(batch.compute_output),
    }


def _duration(duration: Duration) -> Document:
    return {"count": duration.count, "ns": duration.ns}


def index(rows: Sequence[IndexRow]) -> list[Document]:
    """Return a row for each known version; what a row does not know is left out."""
    return [_row(row) for row in rows]


def _row(row: IndexRow) -> Document:
    document: Document = {"name": row.name}
    if row.version is not None:
        document["version"] = str(row.version)
    document["state"] = row.state.value
    if row.reason:
        document["reason"] = row.reason
    return document
