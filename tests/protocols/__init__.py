"""Tests of what the protocols have in common."""
