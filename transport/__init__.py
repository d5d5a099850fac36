"""Carriers of opaque frames and the secure link over them."""
