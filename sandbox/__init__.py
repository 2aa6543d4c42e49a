"""What a laptop lacks: PostgreSQL, a Kafka broker, a TON network.

The embedded defaults of demo, dev and tests.
"""
