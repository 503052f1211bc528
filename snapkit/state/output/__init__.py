"""What is made of a snapshot: its tables as files, a page of all, other archives."""
