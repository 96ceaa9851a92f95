"""`bentoml serve` and `bentoml build` start here. The service itself is in the package."""

from jubako.bundle.app import service

__all__ = ["service"]
