"""What every process needs: settings, errors, logs, metrics, clock, lifecycle, http, faults.

Imports nothing of Laurel.
"""
