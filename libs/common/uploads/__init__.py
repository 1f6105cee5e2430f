"""The protocol of an upload: one record for each name, changed by compare-and-swap; immutable bytes; events as nudges.

Read it in the order of an upload's life: `layout`, `record`, `records`, `stock`, `tools`, then `writing`, `reading`,
`assembling`, `parking`, `cancelling`, `sweeping`. docs/architecture.md draws it and lists its rules.
"""
