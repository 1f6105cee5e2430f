"""What a process needs, opened from its settings and tried before it is ready."""
