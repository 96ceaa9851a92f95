"""Traces of requests: which are sampled, what is recorded of them, and where that goes.

Everything here runs in the loop's thread, but for the writing of files and the sending of spans. Without a setting that
samples, nothing of it is on the path of a request but one look at `Tracing.active`.
"""
