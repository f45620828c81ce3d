/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a loader runs before its scheduler starts, to go behind vtime.bpf.c: one gives an address away, one takes it
 * back. With what they leave the slice is another one.
 */
struct given {
	__u64 address;
	__u64 number;
};

static __u64 cells[8];
__u64 taken;

SEC("syscall")
int give(struct given *args)
{
	args->address = (__u64)&cells[2];
	return 5;
}

SEC("syscall")
int take(struct given *args)
{
	taken = *(__u64 *)args->address + args->number;
	return 0;
}

/* At each choice of a CPU: whoever runs has been told by `taken` how long. */
SEC("struct_ops/prepared_enable")
int prepared_enable(__u64 *ctx)
{
	static char format[] = "taken %d";
	__u64 number = taken;

	if (number)
		scx_bpf_error_bstr(format, &number, 8);
	return 0;
}
