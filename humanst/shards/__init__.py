"""Section stores to a release: plan, extract (a task a section), pack (a task a shard), cards, manifest last."""
