"""The next of many deadlines, against the plainest way to find it."""

from hypothesis import given
from hypothesis import strategies as st

from jubako.schedulers.deadlines import SLACK, Deadlines


def test_the_first_deadline_is_the_next_one_whatever_the_order_they_came_in() -> None:
    deadlines: Deadlines[str] = Deadlines()
    assert deadlines.next_ns() is None

    for name, due_ns in (("b", 20), ("a", 10), ("c", 30)):
        deadlines.add(name, due_ns)

    assert deadlines.next_ns() == 10
    assert deadlines.pop_due(25) == ["a", "b"]
    assert deadlines.next_ns() == 30


def test_a_deadline_that_was_called_off_lets_go_of_its_item() -> None:
    class Large:
        released = 0

        def __del__(self) -> None:
            Large.released += 1

    deadlines: Deadlines[Large] = Deadlines()
    for due_ns in range(SLACK):  # so few that their places in time are kept
        item = Large()
        deadlines.add(item, due_ns)
        deadlines.discard(item)
        del item

    assert Large.released == SLACK


@given(st.lists(st.tuples(st.sampled_from(["add", "discard", "pop"]), st.integers(0, 50)), max_size=300))
def test_deadlines_come_in_order_and_once_whichever_are_called_off(acts: list[tuple[str, int]]) -> None:
    deadlines: Deadlines[int] = Deadlines()
    there: dict[int, int] = {}
    for number, (act, amount) in enumerate(acts):
        if act == "add":
            deadlines.add(number, amount)
            there[number] = amount
        elif act == "discard" and there:
            item = list(there)[amount % len(there)]
            deadlines.discard(item)
            deadlines.discard(item)
            del there[item]
        elif act == "pop":
            due = deadlines.pop_due(amount)
            assert due == sorted((i for i, ns in there.items() if ns <= amount), key=lambda i: (there[i], i))
            for item in due:
                del there[item]
        assert deadlines.next_ns() == min(there.values(), default=None)
