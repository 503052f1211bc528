"""An archive that may be handed on: whole and restorable, its secrets replaced and, by profile, its names as well.

What each profile does is in docs/redaction.md.
"""

from snapkit.state.redact.profiles import Profile, kept
from snapkit.state.redact.whole import Redaction, Redactor, Token, redact

__all__ = ["Profile", "Redaction", "Redactor", "Token", "kept", "redact"]
