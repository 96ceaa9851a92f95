"""What `jubako serve` makes of its server's reports."""

import pytest

from jubako.bundle.reports import ModelRow, Report
from jubako.cli.supervise import Progress, table

READY = ModelRow("simple", "1", "READY")
BROKEN = ModelRow("digits", "-", "UNAVAILABLE: Invalid argument: no")


def after(*reports: Report, signalled: bool = False) -> tuple[Progress, list[str], list[bool]]:
    progress = Progress("0.0.0.0:8000", signalled=signalled)
    printed: list[str] = []
    stops = []
    for report in reports:
        stops.append(progress.take(report))
        printed += progress.lines
    return progress, printed, stops


def test_the_models_are_drawn_as_triton_draws_them() -> None:
    assert table([READY, BROKEN]).splitlines() == [
        "+--------+---------+-----------------------------------+",
        "| Model  | Version | Status                            |",
        "+--------+---------+-----------------------------------+",
        "| simple | 1       | READY                             |",
        "| digits | -       | UNAVAILABLE: Invalid argument: no |",
        "+--------+---------+-----------------------------------+",
    ]


def test_once_loaded_it_says_where_it_listens_and_a_signal_ends_it_well() -> None:
    progress, printed, stops = after(Report("starting"), Report("loaded", [READY]), signalled=True)

    assert printed == [table([READY]), "Started HTTPService at 0.0.0.0:8000"]
    assert stops == [False, False]
    assert progress.exit_status(of_child=0) == 0


def test_grpc_is_announced_before_http_where_it_listens() -> None:
    _, printed, _ = after(Report("starting"), Report("loaded", [READY], grpc_at="0.0.0.0:8001"))

    assert printed[1:] == [
        "Started GRPCInferenceService at 0.0.0.0:8001",
        "Started HTTPService at 0.0.0.0:8000",
    ]


def test_a_start_that_fails_before_the_load_says_why_and_ends_with_1() -> None:
    progress, printed, stops = after(Report("starting"), Report("failed", reason="no port"))

    assert printed == ["no port"]
    assert stops == [False, True]
    assert progress.exit_status(of_child=0) == 1


def test_a_failed_start_is_told_in_tritons_words_and_ends_with_1() -> None:
    progress, printed, stops = after(Report("starting"), Report("loaded", [BROKEN], failed=True))

    assert printed[-1] == "error: creating server: Internal - failed to load all models"
    assert stops[-1]
    assert progress.exit_status(of_child=0) == 1


def test_a_worker_that_dies_while_it_loads_ends_the_start() -> None:
    progress, printed, stops = after(Report("starting"), Report("starting"))

    assert "ended before its models were loaded" in printed[-1]
    assert stops == [False, True]
    assert progress.exit_status(of_child=0) == 1


def test_a_worker_that_dies_later_and_comes_back_is_not_announced_again() -> None:
    reports = [Report("starting"), Report("loaded", [READY])]

    progress, printed, stops = after(*reports, *reports)

    assert len(printed) == 2
    assert not any(stops)
    assert progress.exit_status(of_child=0) == 0


def test_an_expired_exit_timeout_ends_with_1_though_a_signal_asked_for_the_end() -> None:
    progress, printed, _ = after(Report("starting"), Report("loaded", [READY]), Report("exit timeout"), signalled=True)

    assert printed[-1] == "failed to stop server: Internal - Exit timeout expired. Exiting immediately."
    assert progress.exit_status(of_child=0) == 1


@pytest.mark.parametrize(("of_child", "status"), [(0, 1), (1, 1), (-9, 1)])
def test_a_server_that_ends_by_itself_before_it_has_loaded_has_failed(of_child: int, status: int) -> None:
    assert Progress("").exit_status(of_child) == status


def test_a_report_survives_the_pipe() -> None:
    report = Report("loaded", (READY, BROKEN), failed=True)

    assert Report.loads(report.dumps()) == report
    assert report.dumps().count("\n") == 1


def test_a_line_that_is_no_report_is_refused() -> None:
    with pytest.raises(ValueError, match="not a report"):
        Report.loads("{}")
