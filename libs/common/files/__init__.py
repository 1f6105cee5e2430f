"""Names, byte ranges and digests of files."""
