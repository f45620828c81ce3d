"""The kernel's interfaces: scheduling system calls, libbpf and BPF objects."""
