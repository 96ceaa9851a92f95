"""What a configuration asks of the metrics: the buckets of a histogram."""

from collections.abc import Sequence
from typing import Final

from tritonclient.grpc.model_config_pb2 import ModelConfig

FIRST_RESPONSE: Final = "nv_inference_first_response_histogram_ms"


def first_response_bounds(config: ModelConfig) -> Sequence[float]:
    """Return the buckets, in ms and ascending, of the time to the first response; none where `config` sets none."""
    for control in config.model_metrics.metric_control:
        if control.metric_identifier.family == FIRST_RESPONSE and control.histogram_options.buckets:
            return sorted(set(control.histogram_options.buckets))
    return ()
