"""Jubako: a Triton-style model repository, served by BentoML."""

__version__ = "0.1.0"
