"""What Jubako costs, measured against a floor in the same run: `python -m benchmarks`."""
