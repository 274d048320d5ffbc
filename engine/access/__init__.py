"""Access: who calls, what each role may, and what was answered once."""
