"""BentoML's page of metrics, with ours in it."""

from collections.abc import Mapping

from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.context import server_context

from jubako.metrics.page import Metrics
from jubako.metrics.text import Family, Kind, insert
from jubako.protocols.rest.traffic import Traffic


def traffic_family(traffic: Traffic, namespace: str, prefix: str, labels: Mapping[str, str]) -> Family:
    """Return BentoML's counter of requests with those that its middleware does not see; `labels` are its own."""
    family = Family(f"{namespace}_request_total", Kind.COUNTER, "Requests answered")
    for endpoint, status, count in traffic:
        family.add({**labels, "endpoint": prefix + endpoint, "http_response_code": str(status)}, count)
    return family


async def complete_page(text: str, metrics: Metrics, traffic: Traffic, prefix: str = "") -> str:
    """Return BentoML's page with the requests to `/v2` among its own, and our families behind."""
    labels = {
        "service_name": str(server_context.bento_name),
        "service_version": str(server_context.bento_version),
        "runner_name": str(server_context.service_name),
    }
    namespace = BentoMLContainer.api_server_config.metrics.namespace.get()
    return insert(text, traffic_family(traffic, namespace, prefix, labels)) + await metrics.text()
