"""Jubako as a BentoML service: its arguments, its models in the model store, and its process."""
