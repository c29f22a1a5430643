"""Hosts of the engine: processes, threads, and the examples as they stand."""
