"""The worker: Kafka through Faust, chunks collected into batches."""
