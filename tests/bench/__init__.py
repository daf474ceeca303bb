"""Measured speed and memory, as ratios against a named baseline in the same run: `make bench`."""
