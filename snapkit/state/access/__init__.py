"""Who may do what, and who could have."""
