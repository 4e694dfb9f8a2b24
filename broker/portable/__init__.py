"""The portable port, by kombu."""

from .hub import Hub

__all__ = ["Hub"]
