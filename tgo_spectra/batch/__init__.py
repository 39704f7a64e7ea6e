"""Many products: one task a product, resumable; worker processes and clusters."""
