"""Which way an operator's event takes: to the broker itself, or through the door of the process that has it inside."""

from headway.broker.connecting import transport_of

from .door import DoorPost
from .operating import BrokerPost, Post
from .settings import Settings


def post_of(settings: Settings) -> Post:
    """Return the way to the broker that the settings name."""
    return DoorPost(settings.home) if settings.is_embedded else BrokerPost(transport_of(settings.broker_url))
