"""Backends: what loads a kind of model file and executes it, a module each. The module's name is the backend's."""
