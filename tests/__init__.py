"""The tests mirror snapkit/: what they share is in conftest.py, forge.py and capped.py."""
