"""Benchmarks: each prints its figure beside a peer or a limit measured in the same run.

Never tests, never asserted.
"""
