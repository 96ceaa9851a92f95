"""The v2 protocol over gRPC: Triton's `inference.GRPCInferenceService`, health and reflection."""
