"""What a snapshot means. Knows nothing of HTTP or Jupyter."""
