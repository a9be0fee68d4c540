"""The HTTP API: five endpoints, each visiting its modelled steps in order."""
