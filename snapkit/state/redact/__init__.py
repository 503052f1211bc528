"""An archive that may be handed on: whole and restorable, its secrets replaced and, by profile, its names as well.

`whole.redact()` is what others call; what each profile does is in docs/redaction.md.
"""
