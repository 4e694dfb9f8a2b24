"""HOW it travels: the only code that knows AMQP and its client libraries.

`port.py` is what the services see: values in, signals out. `rabbitmq/` is the adapter on pika; tests/contract holds the
one suite that every adapter passes.
"""
