"""All uploads in progress and all devices at a glance: the janitor puts what it saw, and every replica reads it."""
