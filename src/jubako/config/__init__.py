"""config.pbtxt: parse, normalise, complete, validate.

The configuration is tritonclient's own protobuf message, so that the wire and the file are exactly Triton's.
"""
