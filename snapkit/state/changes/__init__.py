"""What changed between snapshots, and when."""
