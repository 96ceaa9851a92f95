"""What has been counted, as Prometheus reads it: text made at each scrape from plain integers (docs/metrics.md).

Nothing here is called on a request's way.
"""
