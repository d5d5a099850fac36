"""One benchmark a question, beside the peers that a user would pick instead."""
