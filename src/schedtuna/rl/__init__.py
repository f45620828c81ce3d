"""Learners: what of reinforcement learning needs torch, and how it is trained, saved and warmed up."""
