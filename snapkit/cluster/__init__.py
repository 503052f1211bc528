"""Nomad over HTTP: clusters that snapshots come from and go to, and snapshots served as clusters."""
