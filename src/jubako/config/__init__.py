"""config.pbtxt: parse, infer the backend, normalise, validate, review.

The configuration is tritonclient's own protobuf message, so that the wire and the file are exactly Triton's.
`prepare` runs the whole chain; every step of it is pure and stands in its own module.
"""
