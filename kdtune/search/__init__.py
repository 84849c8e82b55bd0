"""Searching: spaces, samplers, schedulers, callbacks, and the launch that joins them."""
