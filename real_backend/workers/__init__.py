"""The fan-out workers."""
