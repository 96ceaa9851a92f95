"""Configurations with one fault each, and the words that the fault is refused with.

Each text stands behind `SOUND`, which is a whole configuration of a Python model `m`, or replaces the parts that it
names. The words are those of the real Triton, which was asked with the same texts.
"""

from typing import Final, NamedTuple

HEAD: Final = 'name: "m"\nbackend: "python"\n'
INPUT: Final = 'input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] }\n'
OUTPUT: Final = 'output { name: "y" data_type: TYPE_FP32 dims: [ 4 ] }\n'
BATCHING: Final = "max_batch_size: 8\n"
SOUND: Final = HEAD + BATCHING + INPUT + OUTPUT


class Fault(NamedTuple):
    what: str
    text: str
    message: str


def _input(body: str, batching: str = BATCHING) -> str:
    return HEAD + batching + f"input {{ {body} }}\n" + OUTPUT


def _output(body: str, batching: str = BATCHING) -> str:
    return HEAD + batching + INPUT + f"output {{ {body} }}\n"


def _reshaped(dims: str, shape: str, batching: str = BATCHING) -> str:
    return _input(f'name: "x" data_type: TYPE_FP32 dims: [ {dims} ] reshape {{ shape: [ {shape} ] }}', batching)


def _control(*controls: str) -> str:
    return SOUND + "sequence_batching { " + " ".join(f"control_input {{ {control} }}" for control in controls) + " }"


_START = "kind: CONTROL_SEQUENCE_START"
_EITHER = "'int32_false_true', 'fp32_false_true' or 'bool_false_true'"
_SIZE = "must be integer >= 1, or -1 to indicate a variable-size dimension for m"

FAULTS: Final = (
    Fault(
        "another name",
        SOUND.replace('"m"', '"n"'),
        "unexpected directory name 'm' for model 'n', directory name must equal model name",
    ),
    Fault("negative batch", HEAD + "max_batch_size: -1", "'max_batch_size' must be non-negative value for m"),
    Fault(
        "platform of another backend",
        'backend: "onnxruntime" platform: "tensorrt_plan"',
        "unexpected 'platform' and 'backend' pair, got:tensorrt_plan, onnxruntime",
    ),
    Fault(
        "tensorflow platform on pytorch",
        'backend: "pytorch" platform: "tensorflow_graphdef"',
        "unexpected 'platform' and 'backend' pair, got:tensorflow_graphdef, pytorch",
    ),
    Fault("unknown platform", 'platform: "abacus"', "unexpected platform type 'abacus' for m"),
    Fault(
        "ensemble with a backend",
        'backend: "python" platform: "ensemble"',
        "Ensemble model 'm' must have platform type 'ensemble' and empty backend type",
    ),
    Fault(
        "ensemble without steps",
        'platform: "ensemble"',
        "ensemble scheduling must be set for ensemble m whose platform is ensemble",
    ),
    Fault(
        "steps without ensemble",
        HEAD + "ensemble_scheduling { }",
        "ensemble scheduling cannot be set for model 'm' whose platform is not ensemble",
    ),
    Fault(
        "preferred size of zero",
        SOUND + "dynamic_batching { preferred_batch_size: [ 4, 0 ] }",
        "dynamic batching preferred size must be positive for m",
    ),
    Fault(
        "preferred size over the batch",
        SOUND + "dynamic_batching { preferred_batch_size: [ 9 ] }",
        "dynamic batching preferred size must be <= max batch size for m",
    ),
    Fault(
        "levels without default",
        SOUND + "dynamic_batching { priority_levels: 3 }",
        "default priority level must be in range [1, 3] for m",
    ),
    Fault(
        "default level out of range",
        SOUND + "dynamic_batching { priority_levels: 3 default_priority_level: 4 }",
        "default priority level must be in range [1, 3] for m",
    ),
    Fault(
        "policy level out of range",
        SOUND + "dynamic_batching { priority_levels: 2 default_priority_level: 1"
        " priority_queue_policy { key: 3 value: { max_queue_size: 1 } } }",
        "priority queue policy must have priority level in range [1, 2] for m",
    ),
    Fault(
        "order and levels",
        SOUND + "dynamic_batching { preserve_ordering: true priority_levels: 2 default_priority_level: 1 }",
        "Only one priority level is allowed when 'preserve_ordering' is true for m",
    ),
    Fault(
        "order and delay",
        SOUND + "dynamic_batching { preserve_ordering: true"
        " default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 1 } }",
        "Queue policy can not have DELAY as timeout action when 'preserve_ordering' is true for m",
    ),
    Fault(
        "order and delay of a level",
        SOUND + "dynamic_batching { preserve_ordering: true priority_levels: 1 default_priority_level: 1"
        " priority_queue_policy { key: 1 value: { timeout_action: DELAY default_timeout_microseconds: 1 } } }",
        "Queue policy can not have DELAY as timeout action when 'preserve_ordering' is true for m",
    ),
    Fault(
        "cached sequences",
        SOUND + "sequence_batching { } response_cache { enable: true }",
        "Response Cache does not currently support model m with sequence batching scheduler. "
        "Please disable the response cache.",
    ),
    Fault(
        "cached decoupled model",
        SOUND + "model_transaction_policy { decoupled: true } response_cache { enable: true }",
        "Response Cache does not currently support model m with 'decoupled' transaction policy. "
        "Please disable the response cache.",
    ),
    Fault(
        "preferred sequence size of zero",
        SOUND + "sequence_batching { oldest { preferred_batch_size: 0 } }",
        "sequence batching preferred batch size must be positive for m",
    ),
    Fault(
        "preferred sequence size over the batch",
        SOUND + "sequence_batching { oldest { preferred_batch_size: 9 } }",
        "sequence batching preferred batch size must be <= max batch size for m",
    ),
    Fault(
        "slots over the whole",
        SOUND + "sequence_batching { direct { minimum_slot_utilization: 1.5 } }",
        "sequence batching minimum slot utilization must be in range (0.0, 1.0] for m",
    ),
    Fault(
        "control without name",
        _control(f"control {{ {_START} int32_false_true: [ 0, 1 ] }}"),
        "sequence batching control tensor must have a name for m",
    ),
    Fault(
        "control tensor twice",
        _control(
            f'name: "S" control {{ {_START} int32_false_true: [ 0, 1 ] }}',
            'name: "S" control { kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] }',
        ),
        "sequence batching control tensor 'S' is specified for multiple control kinds for m",
    ),
    Fault(
        "control kind twice",
        _control(
            f'name: "S" control {{ {_START} int32_false_true: [ 0, 1 ] }}',
            f'name: "T" control {{ {_START} int32_false_true: [ 0, 1 ] }}',
        ),
        "sequence batching specifies multiple CONTROL_SEQUENCE_START tensors for m",
    ),
    Fault(
        "control without values",
        _control(f'name: "S" control {{ {_START} }}'),
        f"sequence batching must specify either {_EITHER} for CONTROL_SEQUENCE_START for m",
    ),
    Fault(
        "control with two kinds of values",
        _control(f'name: "S" control {{ {_START} int32_false_true: [ 0, 1 ] fp32_false_true: [ 0, 1 ] }}'),
        "sequence batching specifies more than one from 'int32_false_true', 'fp32_false_true' and 'bool_false_true' "
        "for CONTROL_SEQUENCE_START for m",
    ),
    Fault(
        "control with three values",
        _control(f'name: "S" control {{ {_START} int32_false_true: [ 0, 1, 2 ] }}'),
        "sequence batching control 'int32_false_true' must have exactly 2 entries for CONTROL_SEQUENCE_START for m",
    ),
    Fault(
        "correlation with values",
        _control(
            'name: "C" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_INT32 int32_false_true: [ 0, 1 ] }'
        ),
        f"sequence batching must not specify either {_EITHER} for CONTROL_SEQUENCE_CORRID for m",
    ),
    Fault(
        "correlation of a wrong type",
        _control('name: "C" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_FP32 }'),
        "unexpected data type for control CONTROL_SEQUENCE_CORRID for m. "
        "Allowed data types are TYPE_UINT64, TYPE_INT64, TYPE_UINT32, TYPE_INT32 and TYPE_STRING",
    ),
    Fault("input without name", _input("data_type: TYPE_FP32 dims: 4"), "model input must specify 'name' for m"),
    Fault("input without type", _input('name: "x" dims: 4'), "model input 'x' must specify 'data_type' for m"),
    Fault("input without dims", _input('name: "x" data_type: TYPE_FP32'), "model input 'x' must specify 'dims' for m"),
    Fault("input of size zero", _input('name: "x" data_type: TYPE_FP32 dims: 0'), f"model input 'x' dimension {_SIZE}"),
    Fault(
        "input of size minus two",
        _input('name: "x" data_type: TYPE_FP32 dims: -2'),
        f"model input 'x' dimension {_SIZE}",
    ),
    Fault("reshape to size zero", _reshaped("4", "0"), f"model input 'x' reshape dimensions {_SIZE}"),
    Fault(
        "reshape to another size", _reshaped("4", "5"), "model input 'x' has different size for dims and reshape for m"
    ),
    Fault(
        "reshape of fixed to variable",
        _reshaped("4", "-1"),
        "model input 'x' has different size for dims and reshape for m",
    ),
    Fault(
        "reshape to more variables",
        _reshaped("-1", "-1, -1"),
        "model input 'x' has different number of variable-size dimensions for dims and reshape for m",
    ),
    Fault(
        "reshape to another segment",
        _reshaped("2, 4, -1, 6", "8, -1, 3"),
        "model input 'x' has different size for dims and reshape for m",
    ),
    Fault(
        "reshape of many to a scalar",
        _reshaped("4", ""),
        "model input 'x' has different size for dims and reshape for m",
    ),
    Fault(
        "scalar without batch",
        _reshaped("1", "", batching=""),
        "model input 'x' cannot have empty reshape for non-batching model as scalar tensors are not supported for m",
    ),
    Fault(
        "picture of two dimensions",
        _input('name: "x" data_type: TYPE_FP32 format: FORMAT_NHWC dims: [ 4, 4 ]'),
        "model input NHWC/NCHW require 3 dims for m",
    ),
    Fault(
        "shape tensor",
        _input('name: "x" data_type: TYPE_INT32 dims: 4 is_shape_tensor: true'),
        "shape tensors are only supported for TensorRT platform for m",
    ),
    Fault(
        "non-linear format",
        _input('name: "x" data_type: TYPE_FP32 dims: [ 4, 4, 4 ] is_non_linear_format_io: true'),
        "Non-linear IO format is only supported for the TensorRT platform for m",
    ),
    Fault("output without name", _output("data_type: TYPE_FP32 dims: 4"), "model output must specify 'name' for m"),
    Fault("output without type", _output('name: "y" dims: 4'), "model output 'y' must specify 'data_type' for m"),
    Fault(
        "output without dims", _output('name: "y" data_type: TYPE_FP32'), "model output 'y' must specify 'dims' for m"
    ),
    Fault(
        "output of size zero", _output('name: "y" data_type: TYPE_FP32 dims: 0'), f"model output 'y' dimension {_SIZE}"
    ),
    Fault(
        "output shape tensor",
        _output('name: "y" data_type: TYPE_INT32 dims: 4 is_shape_tensor: true'),
        "shape tensors are only supported for TensorRT platform for m",
    ),
    Fault(
        "batch input without source",
        SOUND + 'batch_input { kind: BATCH_ELEMENT_COUNT target_name: "n" data_type: TYPE_FP32 }',
        "batch input kind 'BATCH_ELEMENT_COUNT' expects 1 source input, got 0 for m",
    ),
    Fault(
        "batch input of a wrong type",
        SOUND + 'batch_input { kind: BATCH_ITEM_SHAPE target_name: "n" data_type: TYPE_INT64 source_input: "x" }',
        "batch input data type must be TYPE_INT32 or TYPE_FP32 for m",
    ),
    Fault(
        "batch input of a stranger",
        SOUND + 'batch_input { kind: BATCH_ELEMENT_COUNT target_name: "n" data_type: TYPE_INT32 source_input: "z" }',
        "unknown source input name 'z' for m",
    ),
    Fault(
        "batch output without source",
        SOUND + 'batch_output { target_name: "y" }',
        "batch output kind 'BATCH_SCATTER_WITH_INPUT_SHAPE' expects 1 source input, got 0 for m",
    ),
    Fault(
        "batch output to a stranger",
        SOUND + 'batch_output { target_name: "z" source_input: "x" }',
        "unknown target output name 'z' for m",
    ),
    Fault(
        "batch output twice",
        SOUND + 'batch_output { target_name: [ "y", "y" ] source_input: "x" }',
        "target output name 'y' can only be specified once for m",
    ),
    Fault(
        "GPUs of a CPU group",
        SOUND + "instance_group { kind: KIND_CPU gpus: 0 }",
        "instance group m_0 of model m has kind KIND_CPU but specifies one or more GPUs",
    ),
    Fault(
        "GPUs of a model group",
        SOUND + 'instance_group { name: "g" kind: KIND_MODEL gpus: [ 0, 1 ] }',
        "instance group g of model m has kind KIND_MODEL but specifies one or more GPUs",
    ),
    Fault(
        "metric without identifier",
        SOUND + "model_metrics { metric_control { histogram_options { buckets: 1 } } }",
        "metric control must specify 'metric_identifier'",
    ),
    Fault(
        "metric without family",
        SOUND + "model_metrics { metric_control { metric_identifier { } histogram_options { buckets: 1 } } }",
        "metric identifier must specify non-empty 'family'",
    ),
    Fault(
        "metric without options",
        SOUND + 'model_metrics { metric_control { metric_identifier { family: "f" } } }',
        "metric control must specify 'histogram_options'",
    ),
    Fault(
        "metric without buckets",
        SOUND + 'model_metrics { metric_control { metric_identifier { family: "f" } histogram_options { } } }',
        "histogram options must specify non-empty 'buckets'",
    ),
)
