"""Answers that are kept: which requests are equal, what is dropped, and that the budget is exact. No clock, no loop."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import arrays

from jubako.config.interface import Admission
from jubako.request import InferRequest, InferResponse, ResponseSignature, Signature, TensorSpec
from jubako.schedulers.cache import ARRAY_BYTES, ENTRY_BYTES, Entry, ResponseCache, size_of
from jubako.tensor import Array, Datatype

ALL = Admission(rows=1, key=(), outputs=None)
KEYS = [bytes([n]) * 16 for n in range(6)]


def a_request(
    *tensors: tuple[str, Datatype, Array], shapes: Sequence[tuple[int, ...]] = (), **signature: Any
) -> InferRequest:
    """Return a request with these inputs, whose shapes are those of the arrays unless `shapes` says otherwise."""
    shapes = shapes or [array.shape for _, _, array in tensors]
    specs = tuple(TensorSpec(name, datatype, shape) for (name, datatype, _), shape in zip(tensors, shapes, strict=True))
    return InferRequest("m", -1, Signature(specs, **signature), [array for _, _, array in tensors])


def an_answer(*outputs: Array) -> InferResponse:
    specs = tuple(TensorSpec(f"Y{i}", Datatype.INT32, array.shape) for i, array in enumerate(outputs))
    return InferResponse(a_request(), ResponseSignature("m", 1, specs), outputs, None, {"Y0": ("cat",)}, True)


def strings(*elements: bytes) -> Array:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


X = ("X", Datatype.INT32, np.array([[1, 2]], np.int32))
W = ("W", Datatype.FP32, np.array([3.0], np.float32))


# --- keys -------------------------------------------------------------------------------------------------------------


def test_the_order_of_inputs_the_id_and_how_the_request_is_to_be_queued_do_not_count() -> None:
    cache = ResponseCache(1000)
    usual = a_request(X, W)
    other = a_request(W, X, priority=2, timeout_us=5, parameters={"a": 1})
    other.id = "7"

    assert cache.key(1, usual, ALL) == cache.key(1, other, ALL)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(a_request(("X", Datatype.INT32, np.array([[1, 3]], np.int32)), W), id="a value"),
        pytest.param(a_request(("X", Datatype.UINT32, np.array([[1, 2]], np.uint32)), W), id="a datatype"),
        pytest.param(a_request(("X", Datatype.INT32, np.array([[1], [2]], np.int32)), W), id="a shape"),
        pytest.param(a_request(("V", *X[1:]), W), id="a name"),
        pytest.param(a_request(X), id="an input that is missing"),
        pytest.param(a_request(("W", *X[1:]), ("X", *W[1:])), id="values under one another's names"),
    ],
)
def test_anything_else_of_an_input_counts(other: InferRequest) -> None:
    cache = ResponseCache(1000)

    assert cache.key(1, a_request(X, W), ALL) != cache.key(1, other, ALL)


def test_the_outputs_asked_for_count_and_so_does_the_loaded_version() -> None:
    cache = ResponseCache(1000)
    first, second = cache.new_owner(), cache.new_owner()
    request, some = a_request(X), Admission(rows=1, key=(), outputs=(0,))

    keys = {cache.key(owner, request, asked) for owner in (first, second) for asked in (ALL, some)}

    assert len(keys) == 4


@pytest.mark.parametrize(
    ("one", "other"),
    [((b"ab", b"c"), (b"a", b"bc")), ((b"", b"ab"), (b"ab", b"")), ((b"\x01\0\0\0a", b""), (b"", b"\x01\0\0\0a"))],
)
def test_strings_are_told_apart_where_they_end(one: tuple[bytes, ...], other: tuple[bytes, ...]) -> None:
    cache = ResponseCache(1000)

    keys = [cache.key(1, a_request(("X", Datatype.BYTES, strings(*elements))), ALL) for elements in (one, other)]

    assert keys[0] != keys[1]


def test_where_one_input_ends_and_the_next_begins_counts() -> None:
    cache = ResponseCache(1000)

    def of(first: list[int], second: list[int]) -> bytes:
        tensors = (("A", Datatype.INT8, np.array(first, np.int8)), ("B", Datatype.INT8, np.array(second, np.int8)))
        return cache.key(1, a_request(*tensors), ALL)

    assert of([1, 2], [3]) != of([1], [2, 3])


@pytest.mark.parametrize("datatype", Datatype)
@given(data=st.data())
def test_any_tensor_has_a_key_of_its_values_however_it_lies_in_memory(datatype: Datatype, data: st.DataObject) -> None:
    cache = ResponseCache(1000)
    array = data.draw(arrays(datatype))
    spread = np.repeat(array[..., None], 2, axis=-1)[..., 0]  # the same values, not contiguous

    assert cache.key(1, a_request(("X", datatype, array)), ALL) == cache.key(1, a_request(("X", datatype, spread)), ALL)


def test_keys_of_two_servers_have_nothing_in_common() -> None:
    request = a_request(X)

    assert ResponseCache(1000).key(1, request, ALL) != ResponseCache(1000).key(1, request, ALL)


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_an_answer_is_kept_as_a_copy_that_nobody_can_write_to() -> None:
    cache = ResponseCache(10_000)
    batch = np.arange(1000, dtype=np.int32)
    cache.insert(KEYS[0], an_answer(batch[4:6], strings(b"a", b"bc")))
    batch[:] = -1

    entry = cache.look_up(KEYS[0])

    assert entry is not None
    assert [array.tolist() for array in entry.arrays] == [[4, 5], [b"a", b"bc"]]
    assert all(array.base is None and not array.flags.writeable for array in entry.arrays)
    request = a_request(X)
    answer = entry.answer(request)
    assert (answer.request, answer.labels, answer.batched, answer.error) == (request, {"Y0": ("cat",)}, True, None)


def test_an_answer_counts_with_its_bytes_its_strings_and_what_it_takes_besides() -> None:
    numbers, words = np.zeros((2, 3), np.int32), strings(b"", b"abc")

    size = size_of(an_answer(numbers, words))

    assert size == ENTRY_BYTES + 2 * ARRAY_BYTES + 24 + 2 * 8 + len(b"abc") + 2 * b"".__sizeof__()


def test_the_first_answer_stays_and_the_second_is_said_to_be_no_news() -> None:
    cache = ResponseCache(10_000)
    first, second = (an_answer(np.array([n], np.int32)) for n in (1, 2))

    assert cache.insert(KEYS[0], first)
    assert not cache.insert(KEYS[0], second)

    entry = cache.look_up(KEYS[0])
    assert entry is not None
    assert entry.arrays[0] == [1]
    assert cache.used_bytes == size_of(first)


def test_an_answer_of_exactly_the_budget_is_kept_and_a_larger_one_evicts_nothing() -> None:
    exact = an_answer(np.zeros(100, np.int8))
    larger = an_answer(np.zeros(101, np.int8))
    cache = ResponseCache(size_of(exact))

    cache.insert(KEYS[0], exact)
    cache.insert(KEYS[1], larger)

    assert cache.look_up(KEYS[0]) is not None
    assert cache.look_up(KEYS[1]) is None
    assert (len(cache), cache.used_bytes, cache.evictions) == (1, cache.max_bytes, 0)


def test_a_look_up_saves_an_answer_from_being_the_next_to_go() -> None:
    answer = an_answer(np.zeros(10, np.int8))
    cache = ResponseCache(2 * size_of(answer))
    cache.insert(KEYS[0], answer)
    cache.insert(KEYS[1], answer)
    cache.look_up(KEYS[0])

    cache.insert(KEYS[2], answer)

    assert [cache.look_up(key) is not None for key in KEYS[:3]] == [True, False, True]


# Entries so large that what each takes besides its array does not drown the difference.
STEPS = st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.integers(0, 3000)), max_size=60)


@given(steps=STEPS, budget=st.integers(0, 12_000))
def test_the_least_recently_looked_up_go_first_and_the_budget_is_never_passed(
    steps: list[tuple[bytes, int | None]], budget: int
) -> None:
    cache = ResponseCache(budget)
    expected: OrderedDict[bytes, InferResponse] = OrderedDict()
    evictions = 0
    for key, length in steps:
        if length is None:
            found = cache.look_up(key)
            assert (found is not None) == (key in expected)
            if found is not None:
                assert len(found.arrays[0]) == len(expected[key].arrays[0])
                expected.move_to_end(key)
            continue
        answer = an_answer(np.zeros(length, np.int8))
        cache.insert(key, answer)
        if key not in expected and size_of(answer) <= budget:
            while sum(map(size_of, expected.values())) + size_of(answer) > budget:
                expected.popitem(last=False)
                evictions += 1
            expected[key] = answer
        assert cache.used_bytes == sum(map(size_of, expected.values())) <= budget
        assert (len(cache), cache.evictions) == (len(expected), evictions)
    assert [key for key in KEYS if cache.look_up(key) is not None] == [key for key in KEYS if key in expected]


def test_an_entry_is_compared_by_identity() -> None:
    entry = Entry(ResponseSignature("m", 1, ()), (np.zeros(3),), None, False, 1)

    assert entry != replace(entry), "comparing arrays has no truth value"
