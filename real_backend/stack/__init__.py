"""The stack that starts the real servers, seeds them, and leaves nothing behind."""

from real_backend.stack.rig import Rig
from real_backend.stack.stack import ProcessInfo, Stack
from real_backend.stack.stores import StackUrls
from real_backend.stack.usage import ProcessUsage

__all__ = ["ProcessInfo", "ProcessUsage", "Rig", "Stack", "StackUrls"]
