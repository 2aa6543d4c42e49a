"""What a laptop lacks: PostgreSQL, a Kafka broker, a TON network; the embedded defaults of demo, dev and tests."""
