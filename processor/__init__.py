"""From events on Kafka to badges in PostgreSQL: pure rules, counters and levels.

A Faust shell around them.
"""
