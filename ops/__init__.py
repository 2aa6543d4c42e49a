"""What every process needs: settings, errors, logs, metrics, clock, lifecycle, http, faults, stacks.

Imports nothing of Laurel.
"""
