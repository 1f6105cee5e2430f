"""Who may do what: tokens, keys, revocations, certificates, limits, and the audit trail."""
