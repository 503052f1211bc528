"""What the bytes of a Nomad snapshot are: container, records, values. Knows nothing of pandas, HTTP or Jupyter."""
