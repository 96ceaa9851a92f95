"""When requests run and which run together."""
