"""What the tests of the broker port need: a listener for its signals, the adapters, and a gate to cut a line."""

from .adapters import ADAPTERS, Adapter, Capability, Connect
from .gate import Gate
from .listener import Listener

__all__ = ["ADAPTERS", "Adapter", "Capability", "Connect", "Gate", "Listener"]
