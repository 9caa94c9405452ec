"""Throughput of preference tuning against TRL: the same pairs, model, adapter and losses on both sides.

Run: `make bench`, or `python -m bench.throughput --help`.
"""
