"""What levels, counters and policies say.

Pure functions over the store's values, without a clock or I/O.
"""
