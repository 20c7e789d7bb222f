"""Delegation to Triton Inference Servers, and getting on without them."""
