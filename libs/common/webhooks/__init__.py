"""Webhooks: outcomes of the feed, posted to addresses that operators name.

Each subscription is one object of the permanent bucket. Ingest makes and deletes them; one notifier at a time delivers.
"""
