"""What runs say: comparison, promises kept, summaries."""
