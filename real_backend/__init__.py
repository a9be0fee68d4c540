"""The real backend: HTTP API, relay, workers, and the stack that starts the servers they need."""
