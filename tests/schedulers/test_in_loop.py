"""The leave to run in the loop: earned by a hundred short runs, lost by slow ones."""

from jubako.schedulers.in_loop import InLoopLeave

SHORT, SLOW = 50_000, 300_000


def a_leave_after(*wall_ns: int) -> InLoopLeave:
    leave = InLoopLeave(possible=True)
    for ns in wall_ns:
        leave.ran(ns)
    return leave


def test_it_is_not_given_before_a_hundred_runs_are_known() -> None:
    assert not a_leave_after(*[SHORT] * 99).given
    assert a_leave_after(*[SHORT] * 100).given


def test_ten_slow_runs_in_a_hundred_are_borne_and_eleven_are_not() -> None:
    assert a_leave_after(*[SLOW] * 10, *[SHORT] * 90).given
    assert not a_leave_after(*[SLOW] * 11, *[SHORT] * 89).given


def test_it_comes_back_when_the_slow_runs_are_past() -> None:
    leave = a_leave_after(*[SLOW] * 11, *[SHORT] * 89)

    leave.ran(SHORT)

    assert leave.given


def test_the_third_millisecond_of_work_in_the_loop_takes_it_back_for_good() -> None:
    leave = a_leave_after(*[SHORT] * 100)

    leave.ran(2_000_000, cpu_ns=1_500_000)
    leave.ran(2_000_000, cpu_ns=1_500_000)
    assert leave.given
    leave.ran(2_000_000, cpu_ns=1_500_000)
    for _ in range(200):
        leave.ran(SHORT)

    assert not leave.given


def test_a_millisecond_of_waiting_for_the_processor_does_not() -> None:
    leave = a_leave_after(*[SHORT] * 100)

    leave.ran(2_000_000, cpu_ns=40_000)

    assert leave.given


def test_a_model_that_may_not_run_in_the_loop_never_does() -> None:
    leave = InLoopLeave(possible=False)

    for _ in range(200):
        leave.ran(SHORT)

    assert not leave.given
