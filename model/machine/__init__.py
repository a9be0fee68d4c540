"""What this machine has: cores, packages, servers, permissions, limits."""
