"""What exists for a compiler's sake: each function equals a plain twin, and is chosen when a program is lowered."""
