// SPDX-License-Identifier: Apache-2.0
// The guest's side of the lab's deterministic mode: one order in, one command, one report out.
//
// Under QEMU's -icount the guest's clock counts instructions, so a guest without input from outside does
// the same every time. Orders therefore come through fw_cfg and the report leaves through a debug port:
// both are plain port I/O, without interrupts, DMA or the host's clock. The program stops the machine
// (pvpanic) just before it reads its order; that is where the host takes and restores a snapshot.
//
// usage: schedtuna-trial LAUNCHER, as root, in a guest of QEMU. It ends by ending the machine.
#define _GNU_SOURCE
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/random.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// QEMU's docs/specs: fw_cfg.rst, pvpanic.rst; hw/char/debugcon.c, hw/misc/debugexit.c.
#define FW_CFG_SELECT 0x510
#define FW_CFG_DATA 0x511
#define FW_CFG_DIRECTORY 0x19
#define PVPANIC_PORT 0x505
#define PVPANIC_PANICKED 1
#define REPORT_PORT 0x480  // not 0x402, which SeaBIOS writes to
#define EXIT_PORT 0xf4

#define ORDER_NAME "opt/schedtuna/order"
#define ORDER_VERSION "1"
#define NS_PER_S 1000000000LL
#define POLL_NS 10000000LL
#define SCX_START_WITHIN_NS (120 * NS_PER_S)  // of the guest's own time
#define SCX_LAST_WORDS_WITHIN_NS (30 * NS_PER_S)
#define SCX "/sys/kernel/sched_ext/"
#define SCX_LOG "/tmp/.scheduler"
#define MAX_TEXT 4096

// An order is a sequence of NUL-terminated strings; src/schedtuna/lab/deterministic/orders.py writes it.
struct order {
	char *next;
	const char *end;
};

static void report_bytes(const void *bytes, size_t size)
{
	const char *at = bytes;
	outsb(REPORT_PORT, at, size);
}

// A section of the report: "NAME SIZE\n", then its bytes.
static void report(const char *name, const void *bytes, size_t size)
{
	char head[64];
	int length = snprintf(head, sizeof(head), "%s %zu\n", name, size);
	report_bytes(head, (size_t)length);
	report_bytes(bytes, size);
}

static void report_text(const char *name, const char *text)
{
	report(name, text, strlen(text));
}

static _Noreturn void end_machine(void)
{
	report_text("end", "");
	for (;;)
		outb(0, EXIT_PORT);
}

static _Noreturn void fail(const char *what)
{
	char text[256];
	snprintf(text, sizeof(text), "%s: %s", what, strerror(errno));
	report_text("failed", text);
	end_machine();
}

static int64_t now_ns(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * NS_PER_S + time.tv_nsec;
}

static void sleep_ns(int64_t ns)
{
	struct timespec time = {ns / NS_PER_S, ns % NS_PER_S};
	while (nanosleep(&time, &time) && errno == EINTR) {
	}
}

// ---- the order ----------------------------------------------------------------------------------

static void read_fw_cfg(void *bytes, size_t size)
{
	insb(FW_CFG_DATA, bytes, size);
}

static struct order read_order(void)
{
	struct {
		uint32_t size;
		uint16_t key, reserved;
		char name[56];
	} file;
	uint32_t nr_files;
	outw(FW_CFG_DIRECTORY, FW_CFG_SELECT);
	read_fw_cfg(&nr_files, sizeof(nr_files));
	for (uint32_t left = __builtin_bswap32(nr_files); left; left--) {
		read_fw_cfg(&file, sizeof(file));
		if (strncmp(file.name, ORDER_NAME, sizeof(file.name)))
			continue;
		size_t size = __builtin_bswap32(file.size);
		char *text = malloc(size + 1);
		if (!text)
			fail("no memory for the order");
		outw(__builtin_bswap16(file.key), FW_CFG_SELECT);
		read_fw_cfg(text, size);
		text[size] = '\0';
		return (struct order){text, text + size};
	}
	errno = ENOENT;
	fail("there is no order");
}

static char *next_text(struct order *order)
{
	if (order->next >= order->end) {
		errno = EBADMSG;
		fail("the order is cut off");
	}
	char *text = order->next;
	order->next += strlen(text) + 1;
	return text;
}

static int64_t next_number(struct order *order)
{
	return strtoll(next_text(order), NULL, 10);
}

// A count, then as many strings; NULL where there are none.
static char **next_list(struct order *order)
{
	size_t count = (size_t)next_number(order);
	if (!count)
		return NULL;
	char **list = calloc(count + 1, sizeof(*list));
	if (!list)
		fail("no memory for the order");
	for (size_t i = 0; i < count; i++)
		list[i] = next_text(order);
	return list;
}

// ---- what the kernel says -----------------------------------------------------------------------

static size_t read_file(const char *path, char *text, size_t size)
{
	text[0] = '\0';
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	size_t at = 0;
	for (ssize_t got; at + 1 < size && (got = read(fd, text + at, size - 1 - at)) > 0;)
		at += (size_t)got;
	close(fd);
	text[at] = '\0';
	return at;
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fail(path);
	close(fd);
}

// Context switches of all CPUs since boot. /proc/stat is long; `ctxt` comes after the interrupts.
static int64_t nr_switches(void)
{
	static char text[1 << 18];
	read_file("/proc/stat", text, sizeof(text));
	const char *found = strstr(text, "\nctxt ");
	return found ? strtoll(found + 6, NULL, 10) : -1;
}

// ---- perturbation -------------------------------------------------------------------------------

static void bring_cpus_up(int64_t nr_cpus)
{
	for (int cpu = 1; cpu < nr_cpus; cpu++) {
		char path[64];
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
		write_file(path, "1");
	}
}

// All that is random in the guest, such as where programs are mapped, follows from these bytes.
static void seed_kernel(const char *hex)
{
	enum { NR_BYTES = 32 };
	union {
		struct rand_pool_info info;
		unsigned char room[sizeof(struct rand_pool_info) + NR_BYTES];  // info.buf is the end of it
	} pool = {.info = {.entropy_count = 8 * NR_BYTES, .buf_size = NR_BYTES}};
	for (size_t i = 0; i < NR_BYTES; i++)
		if (sscanf(hex + 2 * i, "%2hhx", &pool.room[sizeof(pool.info) + i]) != 1)
			fail("the order's entropy");
	int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool.info) || ioctl(fd, RNDRESEEDCRNG, 0))
		fail("/dev/urandom");
	close(fd);
}

// Moves the ids of processes, and which of the kernel's recycled structures they get.
static void fork_some(int64_t count)
{
	for (int64_t i = 0; i < count; i++) {
		pid_t pid = fork();
		if (!pid)
			_exit(0);
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			fail("fork");
	}
}

static void move_to(int cpu)
{
	cpu_set_t before, one;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_getaffinity(0, sizeof(before), &before) || sched_setaffinity(0, sizeof(one), &one)
	    || sched_setaffinity(0, sizeof(before), &before))
		fail("sched_setaffinity");
}

// ---- the scheduler ------------------------------------------------------------------------------

struct scheduler {
	pid_t pid;
	int status;
	bool ended;
};

static void look_after(struct scheduler *scheduler)
{
	if (scheduler->pid && !scheduler->ended)
		scheduler->ended = waitpid(scheduler->pid, &scheduler->status, WNOHANG) == scheduler->pid;
}

// Lines: state, ops, enable_seq, nr_rejected, and the wait status of its program, or nothing.
static void report_scx(const char *name, struct scheduler *scheduler)
{
	static const char *const files[] = {SCX "state", SCX "root/ops", SCX "enable_seq", SCX "nr_rejected"};
	char text[MAX_TEXT], all[5 * MAX_TEXT] = "";
	look_after(scheduler);
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		size_t size = read_file(files[i], text, sizeof(text) - 1);
		if (!size || text[size - 1] != '\n')
			strcat(text, "\n");
		strcat(all, text);
	}
	if (scheduler->ended)
		snprintf(text, sizeof(text), "%d\n", scheduler->status);
	strcat(all, scheduler->ended ? text : "\n");
	report_text(name, all);
}

static void report_file(const char *name, const char *path)
{
	FILE *file = fopen(path, "re");
	static char *bytes;
	size_t size = 0, room = 0;
	while (file) {
		if (size == room && !(bytes = realloc(bytes, room = 2 * room + 65536)))
			fail("no memory for the report");
		size_t got = fread(bytes + size, 1, room - size, file);
		if (!got)
			break;
		size += got;
	}
	if (file)
		fclose(file);
	report(name, bytes, size);
}

static pid_t spawn(char **argv, int out, int error)
{
	pid_t pid = fork();
	if (pid < 0)
		fail("fork");
	if (pid)
		return pid;
	int null = open("/dev/null", O_RDONLY);
	setsid();
	if (dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(error, 2) < 0)
		_exit(126);
	execv(argv[0], argv);
	dprintf(2, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static int new_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		fail(path);
	return fd;
}

static int64_t nr_enabled(void)
{
	char text[64];
	read_file(SCX "enable_seq", text, sizeof(text));
	return strtoll(text, NULL, 10);
}

// The kernel counts just after it says `enabled`; until then the host would take it for not in charge.
static bool is_enabled(int64_t nr_before)
{
	char state[64], ops[256];
	read_file(SCX "state", state, sizeof(state));
	return !strcmp(state, "enabled\n") && read_file(SCX "root/ops", ops, sizeof(ops)) > 1
	       && nr_enabled() != nr_before;
}

// Returns whether a scheduler is in charge; the host judges whose it is.
static bool start_scheduler(struct scheduler *scheduler, char **argv)
{
	int log = new_file(SCX_LOG);
	int64_t nr_before = nr_enabled();
	report_scx("scx_before", scheduler);
	scheduler->pid = spawn(argv, log, log);
	close(log);
	int64_t deadline = now_ns() + SCX_START_WITHIN_NS;
	bool enabled;
	while (!(enabled = is_enabled(nr_before)) && !scheduler->ended && now_ns() < deadline) {
		sleep_ns(POLL_NS);
		look_after(scheduler);
	}
	report_scx("scx_started", scheduler);
	return enabled && !scheduler->ended;
}

// One that the kernel throws out has still to say why: its program ends when it has.
static void await_last_words(struct scheduler *scheduler)
{
	int64_t deadline = now_ns() + SCX_LAST_WORDS_WITHIN_NS;
	while (!is_enabled(-1) && !scheduler->ended && now_ns() < deadline) {
		sleep_ns(POLL_NS);
		look_after(scheduler);
	}
}

// ---- the command --------------------------------------------------------------------------------

static size_t length_of(char **list)
{
	size_t length = 0;
	while (list && list[length])
		length++;
	return length;
}

static void run(const char *launcher, char **options, char **argv)
{
	int control[2], out = new_file("/tmp/.stdout"), error = new_file("/tmp/.stderr");
	char number[16], **line = calloc(length_of(options) + length_of(argv) + 4, sizeof(*line));
	size_t at = 0;
	if (!line)
		fail("no memory for the command");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, control) || fcntl(control[0], F_SETFD, FD_CLOEXEC))
		fail("socketpair");
	snprintf(number, sizeof(number), "%d", control[1]);
	line[at++] = (char *)launcher;
	for (; options && *options; options++)
		line[at++] = *options;
	line[at++] = number;
	line[at++] = "--";
	for (; argv && *argv; argv++)
		line[at++] = *argv;
	pid_t pid = spawn(line, out, error);
	close(control[1]);
	struct launch_message message;
	int64_t switches = nr_switches(), started_ns = now_ns();
	ssize_t got = recv(control[0], &message, sizeof(message), 0);
	if (got == sizeof(message) && message.kind == LAUNCH_HELD) {
		switches = nr_switches();
		started_ns = now_ns();
		char go = LAUNCH_GO;
		if (send(control[0], &go, 1, MSG_NOSIGNAL) == 1)
			got = recv(control[0], &message, sizeof(message), 0);
	}
	int64_t ended_ns = now_ns();
	switches = nr_switches() - switches;
	waitpid(pid, NULL, 0);
	char text[128];
	snprintf(text, sizeof(text), "%" PRId64 " %" PRId64 " %" PRId64 "\n", started_ns, ended_ns, switches);
	report_text("clock", text);
	report("message", &message, got > 0 ? (size_t)got : 0);
}

int main(int nr_arguments, char **arguments)
{
	if (nr_arguments != 2 || iopl(3)) {
		perror("schedtuna-trial LAUNCHER: iopl");
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	int64_t before_ns = now_ns();
	outb(PVPANIC_PANICKED, PVPANIC_PORT);  // the host saves the machine, or has just restored it
	char text[64];
	snprintf(text, sizeof(text), "%" PRId64 "\n", now_ns() - before_ns);
	report_text("stopped", text);

	struct order order = read_order();
	const char *version = next_text(&order);
	if (strcmp(version, ORDER_VERSION)) {
		errno = EPROTO;
		fail(version);
	}
	int64_t nr_cpus = next_number(&order);
	const char *entropy = next_text(&order);
	int64_t nr_forks = next_number(&order);
	int first_cpu = (int)next_number(&order);
	int64_t delay_ns = next_number(&order);
	char **scheduler_argv = next_list(&order);
	char **environment = next_list(&order);
	char **options = next_list(&order);
	char **argv = next_list(&order);

	bring_cpus_up(nr_cpus);
	seed_kernel(entropy);
	fork_some(nr_forks);
	struct scheduler scheduler = {0};
	if (!scheduler_argv || start_scheduler(&scheduler, scheduler_argv)) {
		for (; environment && *environment; environment++)
			putenv(*environment);
		move_to(first_cpu);
		sleep_ns(delay_ns);
		run(arguments[1], options, argv);
		if (scheduler_argv) {
			await_last_words(&scheduler);
			report_scx("scx_ended", &scheduler);
		}
	}
	if (scheduler_argv)
		report_file("scheduler_log", SCX_LOG);
	report_file("stdout", "/tmp/.stdout");
	report_file("stderr", "/tmp/.stderr");
	end_machine();
}
