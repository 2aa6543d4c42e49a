"""What every process needs: settings, errors, logs, metrics, clock, lifecycle, http and the like.

Imports nothing of Laurel.
"""
