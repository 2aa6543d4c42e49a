"""Embedded parts for a laptop: PostgreSQL, a Kafka broker, a TON network.

The embedded defaults of demo, dev and tests.
"""
