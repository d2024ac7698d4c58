"""New images judged by a memory bank that another task made."""
