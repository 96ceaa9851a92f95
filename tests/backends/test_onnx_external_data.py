from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, TensorProto

from backends.models import onnx_add_sub
from jubako.backends.onnxruntime.external_data import check_external_data, external_locations
from jubako.errors import InvalidArgument


def external(location: str) -> TensorProto:
    tensor = TensorProto(name="W", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="location", value=location)
    return tensor


def hidden_everywhere() -> ModelProto:
    """Return a model with an external tensor in each place that can hold one."""
    model = ModelProto()
    graph = model.graph
    graph.initializer.append(external("initializer"))
    graph.sparse_initializer.add(values=external("sparse values"), indices=external("sparse indices"))
    attributes = graph.node.add().attribute
    attributes.add(t=external("attribute"))
    attributes.add(tensors=[external("attribute list")])
    attributes.add(sparse_tensor={"values": external("sparse attribute")})
    attributes.add(sparse_tensors=[{"indices": external("sparse attribute list")}])
    branch: AttributeProto = attributes.add()
    branch.g.initializer.append(external("branch"))
    attributes.add().graphs.add().initializer.append(external("branch list"))
    function = model.functions.add()
    function.node.add().attribute.add(t=external("function"))
    function.attribute_proto.add(t=external("function default"))
    training = model.training_info.add()
    training.initialization.initializer.append(external("initialization"))
    training.algorithm.initializer.append(external("algorithm"))
    return model


def test_every_place_that_can_hold_a_tensor_is_looked_into() -> None:
    found = set(external_locations(memoryview(hidden_everywhere().SerializeToString())))

    assert found == {
        "initializer", "sparse values", "sparse indices", "attribute", "attribute list", "sparse attribute",
        "sparse attribute list", "branch", "branch list", "function", "function default", "initialization", "algorithm",
    }  # fmt: skip


def test_a_model_that_is_whole_has_none() -> None:
    assert list(external_locations(memoryview(onnx_add_sub()))) == []


@given(st.binary(max_size=200))
def test_what_is_no_model_ends_or_raises_as_told(content: bytes) -> None:
    try:
        list(external_locations(memoryview(content)))
    except (ValueError, IndexError):
        return


def test_nesting_without_end_is_refused() -> None:
    message = b""
    for _ in range(150):  # a graph in an attribute of a node of a graph …
        for tag in (0x32, 0x2A, 0x0A):
            message = bytes([tag]) + varint(len(message)) + message

    with pytest.raises(ValueError, match="nested too deep"):
        list(external_locations(memoryview(b"\x3a" + varint(len(message)) + message)))


def varint(number: int) -> bytes:
    encoded = b""
    while number > 0x7F:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


@pytest.mark.parametrize("location", ["w.bin", "folder/w.bin", "./w.bin"])
def test_data_beside_the_model_is_allowed(tmp_path: Path, location: str) -> None:
    model = ModelProto()
    model.graph.initializer.append(external(location))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())

    check_external_data(tmp_path / "model.onnx")


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "a/../../w", "out/w.bin"])
def test_data_elsewhere_is_refused_by_name(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "1"
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path)
    model = ModelProto()
    model.graph.initializer.append(external(location))
    (folder / "model.onnx").write_bytes(model.SerializeToString())

    with pytest.raises(InvalidArgument) as failure:
        check_external_data(folder / "model.onnx")

    assert str(failure.value) == f"external data '{location}' of 'model.onnx' is outside the model's directory"
