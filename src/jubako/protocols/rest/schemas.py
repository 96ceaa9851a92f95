"""What stands in the bodies of `/v2`, as types: for people who read the OpenAPI document, and for those who check it.

Nothing on the way of a request uses them. Bodies that are read are open, because Triton ignores keys that it does not
know; bodies that are written are closed, so that a key nobody described fails a test.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

DatatypeName = Literal[
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BYTES",
    "BF16",
]
Unsigned = Annotated[int, Field(ge=0, lt=2**64)]
Parameter = str | bool | int | float
Parameters = dict[str, Parameter]


class Read(BaseModel):
    """A body that clients send."""

    model_config = ConfigDict(extra="allow")


class Written(BaseModel):
    """A body that clients are sent."""

    model_config = ConfigDict(extra="forbid")


class Error(Written):
    """What went wrong, in Triton's words."""

    error: str


class ServerMetadata(Written):
    """The server's name and version, and the extensions of the protocol that are built."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(Written):
    """A tensor of a model: -1 stands for a dimension that each request chooses."""

    name: str
    datatype: DatatypeName
    shape: list[int]


class ModelMetadata(Written):
    """A model's ready versions and its tensors."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelConfig(BaseModel):
    """The completed config.pbtxt as JSON, under the names of its fields."""

    model_config = ConfigDict(extra="allow")

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[dict[str, Any]]
    output: list[dict[str, Any]]


class Duration(Written):
    """How often something happened, and how long it took in all."""

    count: int
    ns: int


class InferenceStatistics(Written):
    """Where the time of requests went."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    cache_hit: Duration
    cache_miss: Duration


class BatchStatistics(Written):
    """Where the time of executions of one batch size went."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class VersionStatistics(Written):
    """What one model version has counted since it was loaded."""

    name: str
    version: str
    last_inference: int = Field(description="Milliseconds since 1970; 0 if there was none.")
    inference_count: int
    execution_count: int
    inference_stats: InferenceStatistics
    response_stats: dict[str, Any]
    batch_stats: list[BatchStatistics]
    memory_usage: list[Any]


class Statistics(Written):
    """The statistics of the versions asked for."""

    model_stats: list[VersionStatistics]


class IndexRequest(Read):
    """Which rows of the index are wanted."""

    ready: bool = False


class IndexRow(Written):
    """A model version that the server knows of."""

    name: str
    version: str | None = None
    state: Literal["UNKNOWN", "READY", "UNAVAILABLE", "LOADING", "UNLOADING"] | None = None
    reason: str | None = None


class LoadRequest(Read):
    """What a load overrides: `config` (JSON text) and files (`file:<path>`, base64)."""

    parameters: dict[str, str] = {}


class UnloadParameters(Read):
    """Whether an ensemble's steps go with it."""

    unload_dependents: bool = False


class UnloadRequest(Read):
    """How to unload."""

    parameters: UnloadParameters = UnloadParameters()


class SystemRegion(Written):
    """A region of system shared memory."""

    name: str
    key: str
    offset: int
    byte_size: int


class CudaRegion(Written):
    """A region of CUDA shared memory."""

    name: str
    device_id: int
    byte_size: int


class SystemRegistration(Read):
    """A POSIX shared memory object, or a part of it."""

    key: str
    offset: Unsigned = 0
    byte_size: Unsigned


class RawHandle(Read):
    """A cudaIpcMemHandle_t."""

    b64: str


class CudaRegistration(Read):
    """Memory of a device that another process allocated."""

    raw_handle: RawHandle
    device_id: Unsigned
    byte_size: Unsigned


class InputTensor(Read):
    """An input. Its data is in `data`, or behind the JSON (`binary_data_size`), or in shared memory: in one of them."""

    name: str
    shape: list[Unsigned]
    datatype: DatatypeName
    parameters: dict[str, Any] = {}
    data: list[Any] | None = Field(default=None, description="Flat or nested, in row-major order.")


class RequestedOutput(Read):
    """An output that is wanted, and how: `binary_data`, `classification`, or in a `shared_memory_region`."""

    name: str
    parameters: dict[str, Any] = {}


class InferenceRequest(Read):
    """The JSON of an inference request."""

    id: str = ""
    parameters: dict[str, Any] = {}
    inputs: list[InputTensor]
    outputs: list[RequestedOutput] = Field(default=[], description="All outputs, where none is named.")


class OutputTensor(Written):
    """An output. Its data is in `data`, or behind the JSON (`binary_data_size`), or in shared memory."""

    name: str
    datatype: DatatypeName
    shape: list[int]
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class InferenceResponse(Written):
    """The JSON of an inference response."""

    id: str = ""
    model_name: str
    model_version: str
    parameters: Parameters = {}
    outputs: list[OutputTensor]


class GenerateRequest(Read):
    """Inputs by their names, as a scalar or a flat list; any other key is a parameter."""

    id: str = ""
    parameters: dict[str, Any] = {}


class GenerateResponse(BaseModel):
    """Outputs by their names, as a scalar or a flat list, and the model's parameters."""

    model_config = ConfigDict(extra="allow")

    id: str = ""
    model_name: str
    model_version: str


class Settings(BaseModel):
    """Settings by name; those that are left out stay as they are."""

    model_config = ConfigDict(extra="allow")
