"""What was found, told in several forms and kept as evidence."""
