"""HOW it travels: the only code that knows AMQP and its client libraries.

`port.py` is what the services see: values in, signals out; `connecting.py` chooses an adapter by URL, `once.py` serves
the command line. `rabbitmq/` is the adapter on pika, `portable/` the one on kombu, on RabbitMQ or in memory. What they
share stands here: adapter.py and halves.py (what happens when a connection comes or goes), publisher.py and consumer.py
(what outlives it), address.py (URLs), dialect.py (RabbitMQ's versions), failures.py (the one table of foreign errors),
windows.py (what is not answered yet), backoff.py and timing.py. tests/contract holds the one suite that every adapter
passes; docs/transports.md compares the transports.
"""
