"""From events on Kafka to badges in PostgreSQL: pure rules, counters and levels; a Faust shell around them."""
