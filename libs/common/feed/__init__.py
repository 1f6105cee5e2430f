"""The feed: what became of files, for those who must miss nothing.

Each outcome (complete, parked, rejected, deleted) is one immutable object of the permanent bucket, under a key that
begins with the store's time. Whoever makes an outcome true puts it, at least once; its id says the same in a repeat.
"""
