"""HTTP in: validates events and answers 200 only once Kafka has them (`python -m shop_streams.collector`)."""
