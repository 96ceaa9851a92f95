"""The control plane's answers as messages."""

from collections.abc import Sequence

from tritonclient.grpc import service_pb2 as pb

from jubako.lifecycle import IndexRow
from jubako.request import TensorSpec
from jubako.server import ModelMetadata, VersionStatistics
from jubako.statistics import BatchStatistics, Duration, ModelStatistics


def model_metadata(metadata: ModelMetadata) -> pb.ModelMetadataResponse:
    """Return a model's face."""
    return pb.ModelMetadataResponse(
        name=metadata.name,
        versions=[str(version) for version in metadata.versions],
        platform=metadata.platform,
        inputs=[_tensor(spec) for spec in metadata.inputs],
        outputs=[_tensor(spec) for spec in metadata.outputs],
    )


def _tensor(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype.name, shape=spec.shape)


def statistics(versions: Sequence[VersionStatistics]) -> pb.ModelStatisticsResponse:
    """Return what each version has counted."""
    return pb.ModelStatisticsResponse(model_stats=[_version(version) for version in versions])


def _version(version: VersionStatistics) -> pb.ModelStatistics:
    counted = version.statistics
    return pb.ModelStatistics(
        name=version.name,
        version=str(version.version),
        last_inference=counted.last_inference_ms,
        inference_count=counted.inference_count,
        execution_count=counted.execution_count,
        inference_stats=_durations(counted),
        batch_stats=[_batch(rows, counted.batches[rows]) for rows in sorted(counted.batches)],
    )


def _durations(counted: ModelStatistics) -> pb.InferStatistics:
    return pb.InferStatistics(
        success=_duration(counted.success),
        fail=_duration(counted.fail),
        queue=_duration(counted.queue),
        compute_input=_duration(counted.compute_input),
        compute_infer=_duration(counted.compute_infer),
        compute_output=_duration(counted.compute_output),
        cache_hit=_duration(counted.cache_hit),
        cache_miss=_duration(counted.cache_miss),
    )


def _batch(rows: int, batch: BatchStatistics) -> pb.InferBatchStatistics:
    return pb.InferBatchStatistics(
        batch_size=rows,
        compute_input=_duration(batch.compute_input),
        compute_infer=_duration(batch.compute_infer),
        compute_output=_duration(batch.compute_output),
    )


def _duration(duration: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=duration.count, ns=duration.ns)


def index(rows: Sequence[IndexRow]) -> pb.RepositoryIndexResponse:
    """Return a row for each known version."""
    return pb.RepositoryIndexResponse(
        models=[
            pb.RepositoryIndexResponse.ModelIndex(
                name=row.name,
                version="" if row.version is None else str(row.version),
                state=row.state.value,
                reason=row.reason,
            )
            for row in rows
        ]
    )
