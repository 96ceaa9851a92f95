"""Whether one configuration makes sense by itself. Triton's words, in Triton's order. Pure.

What depends on the machine (are there such GPUs?) is placement's; what depends on the artefact (does it have such an
input?) is the backend's; what depends on other models (does the step exist?) is the ensemble's.
"""

from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from jubako.config.backend import ENSEMBLE, check_pair
from jubako.config.scheduling import validate_scheduling
from jubako.config.tensors import validate_tensors
from jubako.errors import InvalidArgument


def validate(config: ModelConfig) -> None:
    """Check a completed and normalised configuration.

    Raises:
        InvalidArgument: the first fault found.
    """
    validate_model(config)
    validate_tensors(config)
    validate_instance_groups(config)


def validate_model(config: ModelConfig) -> None:
    """Check what can be judged before the backend completes inputs and outputs.

    Raises:
        InvalidArgument: the first fault found.
    """
    if not config.name:
        raise InvalidArgument("model configuration must specify 'name'")
    check_pair(config)
    if config.max_batch_size < 0:
        raise InvalidArgument(f"'max_batch_size' must be non-negative value for {config.name}")
    validate_scheduling(config)
    if config.platform == ENSEMBLE and not config.HasField("ensemble_scheduling"):
        raise InvalidArgument(f"ensemble scheduling must be set for ensemble {config.name} whose platform is ensemble")
    if config.platform != ENSEMBLE and config.HasField("ensemble_scheduling"):
        raise InvalidArgument(
            f"ensemble scheduling cannot be set for model '{config.name}' whose platform is not ensemble"
        )
    _validate_metrics(config)


def _validate_metrics(config: ModelConfig) -> None:
    for control in config.model_metrics.metric_control:
        if not control.HasField("metric_identifier"):
            raise InvalidArgument("metric control must specify 'metric_identifier'")
        if not control.metric_identifier.family:
            raise InvalidArgument("metric identifier must specify non-empty 'family'")
        if not control.HasField("histogram_options"):
            raise InvalidArgument("metric control must specify 'histogram_options'")
        if not control.histogram_options.buckets:
            raise InvalidArgument("histogram options must specify non-empty 'buckets'")


def validate_instance_groups(config: ModelConfig) -> None:
    """Check that only KIND_GPU groups list GPUs.

    Raises:
        InvalidArgument: the first fault found.
    """
    for group in config.instance_group:
        if group.gpus and group.kind in (ModelInstanceGroup.KIND_CPU, ModelInstanceGroup.KIND_MODEL):
            kind = ModelInstanceGroup.Kind.Name(group.kind)
            raise InvalidArgument(
                f"instance group {group.name} of model {config.name} has kind {kind} but specifies one or more GPUs"
            )
