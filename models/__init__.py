"""The recipes of the example models: each module named after a model writes that model's folder in `repository/`."""
