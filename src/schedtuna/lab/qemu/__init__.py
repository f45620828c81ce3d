"""QEMU: which one, with which options, and how to talk to it and to the guest's programs."""
