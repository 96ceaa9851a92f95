"""What one execution adds to the counts (observability.md section 2.1)."""

from jubako.statistics import Duration, ModelStatistics


def test_each_request_is_charged_with_the_whole_batchs_time() -> None:
    statistics = ModelStatistics()

    statistics.executed(9, input_ns=1, infer_ns=10, output_ns=2, now_ms=5)
    statistics.succeeded(2, rows=9, total_ns=100, queue_ns=40, input_ns=1, infer_ns=10, output_ns=2)

    assert (statistics.inference_count, statistics.execution_count, statistics.last_inference_ms) == (9, 1, 5)
    assert statistics.success == Duration(2, 100)
    assert statistics.queue == Duration(2, 40)
    assert statistics.compute_infer == Duration(2, 20)
    assert statistics.batches[9].compute_infer == Duration(1, 10)
