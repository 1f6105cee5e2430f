"""The feed: every outcome of every file, for readers that must miss none.

Each outcome (complete, parked, rejected, deleted) is one immutable object of the permanent bucket, under a key that
begins with the store's time. The process that makes an outcome true puts it at least once. A repeat has the same id.
"""
