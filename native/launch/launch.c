// SPDX-License-Identifier: Apache-2.0
// Run one command, hold it at a gate until knobs are applied, measure it, and leave nothing behind.
//
// Native, because the instrument must not weigh on what it measures: exec(2) charges the old
// program's peak memory to the new one, and an interpreter's start-up is noise.
//
// The launcher is a child subreaper: whatever the command starts, daemons included, becomes the
// launcher's child when its own parent dies. Only its own children are ever signalled; as nobody
// else can reap them, their ids can't belong to strangers.
//
// usage: schedtuna-launch [OPTIONS] CONTROL_FD -- COMMAND [ARGUMENT...]
// Standard output and error are the files that keep the command's output (see struct output).
#define _GNU_SOURCE
#include "launch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS 1000000LL
#define GRACE_NS (500 * NS_PER_MS)	// between SIGTERM and SIGKILL
#define GIVE_UP_NS (10000 * NS_PER_MS)	// for processes that SIGKILL can't end
#define COALESCE_NS (10 * NS_PER_MS)	// a chatty command wakes the launcher at most 100 times a second
#define PIPE_BYTES (1 << 20)		// so that it needn't wait for the launcher meanwhile
#define MAX_GROUPS 1024
#ifndef CHILDREN_FILE  // tests name one that is not there, as on kernels without CONFIG_PROC_CHILDREN
#define CHILDREN_FILE "/proc/self/task/%d/children"
#endif

struct options {
	int control_fd;
	int64_t timeout_ns;  // 0: none
	int64_t keep_bytes;  // of each output
	const char *folder;
	bool switch_user;
	uid_t uid;
	gid_t gid;
	gid_t groups[MAX_GROUPS];
	size_t nr_groups;
	const char *program;  // the file to execute; without a slash: looked for in PATH
	char **argv;
	char **environment;
};

// One output of the command. Of more than `keep_bytes` the first and the last half are kept: the
// file's second half is a ring.
struct output {
	int pipe_fd;
	int file_fd;
	int64_t keep_bytes;
	int64_t nr_bytes;  // all that the command wrote
};

struct failure {
	int32_t error;
	uint32_t stage;
};

struct run {
	int control_fd;
	int signal_fd;
	int gate_fd;
	int failure_fd;
	pid_t parent;
	pid_t command;
	bool started;
	bool exited;
	int64_t started_ns;
	int64_t timeout_ns;
	int64_t read_after_ns;	// when outputs are read again
	struct output outputs[2];
	struct launch_message report;
};

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void send_message(int control_fd, const struct launch_message *message)
{
	// A parent that is gone needs no message.
	(void)!send(control_fd, message, sizeof(*message), MSG_NOSIGNAL);
}

static _Noreturn void fail(int control_fd, uint32_t stage, int error)
{
	struct launch_message message = {.kind = LAUNCH_FAILED, .stage = stage, .error = error};

	send_message(control_fd, &message);
	exit(1);
}

// ---- options --------------------------------------------------------------------------------

static long long parse_number(const char *text, long long max)
{
	char *end;
	long long value;

	errno = 0;
	value = strtoll(text, &end, 10);
	if (errno || end == text || *end || value < 0 || value > max) {
		fprintf(stderr, "schedtuna-launch: bad number: %s\n", text);
		exit(2);
	}
	return value;
}

static void parse_groups(struct options *options, char *list)
{
	for (char *item = strtok(list, ","); item; item = strtok(NULL, ",")) {
		if (options->nr_groups == MAX_GROUPS) {
			fprintf(stderr, "schedtuna-launch: too many groups\n");
			exit(2);
		}
		options->groups[options->nr_groups++] = (gid_t)parse_number(item, UINT32_MAX - 1LL);
	}
}

// Variables come in a file, each ended by a NUL: the launcher's own environment must not be the
// command's, which may be another user's choice.
static char **read_environment(int fd)
{
	static char *text, **variables;	 // for the process's life
	size_t size, nr_variables = 0;
	struct stat file;

	if (fstat(fd, &file) < 0 || file.st_size < 0)
		goto unreadable;
	size = (size_t)file.st_size;
	text = calloc(size + 1, 1);
	if (!text || pread(fd, text, size, 0) != (ssize_t)size)
		goto unreadable;
	for (size_t i = 0; i < size; i++)
		nr_variables += !text[i];
	variables = calloc(nr_variables + 1, sizeof(*variables));
	if (!variables)
		goto unreadable;
	for (size_t i = 0, at = 0; i < nr_variables; i++, at += strlen(&text[at]) + 1)
		variables[i] = &text[at];
	close(fd);
	return variables;
unreadable:
	fprintf(stderr, "schedtuna-launch: no environment: %s\n", strerror(errno));
	exit(2);
}

static void parse_options(struct options *options, int argc, char **argv)
{
	static const struct option known[] = {
		{"timeout-ms", required_argument, NULL, 't'},
		{"keep-bytes", required_argument, NULL, 'k'},
		{"folder", required_argument, NULL, 'f'},
		{"uid", required_argument, NULL, 'u'},
		{"gid", required_argument, NULL, 'g'},
		{"groups", required_argument, NULL, 'G'},
		{"program", required_argument, NULL, 'p'},
		{"environment-fd", required_argument, NULL, 'e'},
		{NULL, 0, NULL, 0},
	};
	int option;

	*options = (struct options){.keep_bytes = 1 << 20, .environment = environ};
	while ((option = getopt_long(argc, argv, "+", known, NULL)) != -1) {
		switch (option) {
		case 't':
			options->timeout_ns = parse_number(optarg, INT64_MAX / 2 / NS_PER_MS) * NS_PER_MS;
			break;
		case 'k':
			options->keep_bytes = parse_number(optarg, 1LL << 40) & ~1LL;
			break;
		case 'f':
			options->folder = optarg;
			break;
		case 'u':
			options->uid = (uid_t)parse_number(optarg, UINT32_MAX - 1LL);
			options->switch_user = true;
			break;
		case 'g':
			options->gid = (gid_t)parse_number(optarg, UINT32_MAX - 1LL);
			break;
		case 'p':
			options->program = optarg;
			break;
		case 'e':
			options->environment = read_environment((int)parse_number(optarg, INT32_MAX));
			break;
		case 'G':
			parse_groups(options, optarg);
			break;
		default:
			exit(2);
		}
	}
	// getopt stops at CONTROL_FD; `--` follows it.
	if (argc - optind < 3 || strcmp(argv[optind + 1], "--") != 0 || options->keep_bytes < 2) {
		fprintf(stderr, "usage: schedtuna-launch [OPTIONS] CONTROL_FD -- COMMAND [ARGUMENT...]\n");
		exit(2);
	}
	options->control_fd = (int)parse_number(argv[optind], INT32_MAX);
	options->argv = &argv[optind + 2];
	if (!options->program)
		options->program = options->argv[0];
}

// ---- the command's own process --------------------------------------------------------------

static _Noreturn void child_failed(int failure_fd, uint32_t stage)
{
	struct failure failure = {.error = errno, .stage = stage};

	(void)!write(failure_fd, &failure, sizeof(failure));
	_exit(127);
}

// Give up all that the caller may do and the user may not, for good. As no_new_privs keeps every
// later exec from gaining anything, no securebits are needed: they govern what exec grants to uid 0.
static bool become_user(const struct options *options)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return false;
	for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++) {
		if (prctl(PR_CAPBSET_READ, capability, 0, 0, 0) && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
			return false;
	}
	if (setgroups(options->nr_groups, options->groups) < 0
	    || setresgid(options->gid, options->gid, options->gid) < 0
	    || setresuid(options->uid, options->uid, options->uid) < 0)
		return false;
	// Until exec, this is still the launcher's memory: not for the user's debuggers.
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0
	    || syscall(SYS_capset, &header, none) < 0)
		return false;
	umask(S_IWGRP | S_IWOTH);
	// The caller's session keyring is inherited like a descriptor. Without keyrings, none is.
	return syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) >= 0 || errno == ENOSYS || errno == EPERM;
}

// As execvpe(3), with the PATH of the new environment; what is not a program does not become a script.
static void execute(const struct options *options)
{
	const char *path = NULL, *end;
	char file[PATH_MAX];
	int error = ENOENT;

	if (strchr(options->program, '/')) {
		execve(options->program, options->argv, options->environment);
		return;
	}
	for (char **variable = options->environment; *variable; variable++)
		path = strncmp(*variable, "PATH=", 5) == 0 ? *variable + 5 : path;
	for (; path; path = *end ? end + 1 : NULL) {
		const int size = snprintf(file, sizeof(file), "%.*s/%s", (int)(strchrnul(path, ':') - path), path,
					  options->program);

		end = strchrnul(path, ':');
		if (end == path || size < 0 || (size_t)size >= sizeof(file))
			continue;  // an empty entry would be the working directory
		execve(file, options->argv, options->environment);
		if (errno == EACCES)
			error = EACCES;
		else if (errno != ENOENT && errno != ENOTDIR)
			return;
	}
	errno = error;
}

// Become the command once the gate opens.
static _Noreturn void be_command(const struct options *options, int ready_fd, int gate_fd, int stdout_fd, int stderr_fd,
				 int failure_fd, pid_t launcher)
{
	sigset_t none;
	char byte;

	sigemptyset(&none);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(options->control_fd);  // what is the launcher's is not to be here when the user changes
	if (setsid() < 0 || sigprocmask(SIG_SETMASK, &none, NULL) < 0 || dup2(stdout_fd, STDOUT_FILENO) < 0
	    || dup2(stderr_fd, STDERR_FILENO) < 0)
		child_failed(failure_fd, LAUNCH_STAGE_SETUP);
	(void)!write(ready_fd, "", 1);	// knobs may weigh the session that it leads now
	close(ready_fd);
	if (read(gate_fd, &byte, 1) != 1)
		_exit(127);  // the launcher is gone
	if (options->switch_user && !become_user(options))
		child_failed(failure_fd, LAUNCH_STAGE_USER);
	prctl(PR_SET_PDEATHSIG, SIGKILL);  // a change of user clears it
	if (getppid() != launcher)
		_exit(127);
	if (options->folder && chdir(options->folder) < 0)
		child_failed(failure_fd, LAUNCH_STAGE_FOLDER);
	// Every descriptor is closed at exec but the three; on kernels before 5.11 those that we opened.
	(void)syscall(SYS_close_range, STDERR_FILENO + 1, UINT_MAX, CLOSE_RANGE_CLOEXEC);
	execute(options);
	child_failed(failure_fd, LAUNCH_STAGE_EXEC);
}

// ---- output ---------------------------------------------------------------------------------

static bool keep(struct output *output, const char *data, int64_t size)
{
	const int64_t half = output->keep_bytes / 2;
	bool kept = true;

	while (size > 0) {
		int64_t at = output->nr_bytes;
		int64_t room;

		if (at >= half)
			at = half + (at - half) % half;
		room = (at < half ? half : output->keep_bytes) - at;
		if (room > size)
			room = size;
		kept = kept && pwrite(output->file_fd, data, (size_t)room, at) == room;
		output->nr_bytes += room;
		data += room;
		size -= room;
	}
	return kept;
}

// Take what the command has written so far.
static void read_outputs(struct run *run)
{
	static char buffer[1 << 16];
	bool hurry = false;

	for (size_t i = 0; i < 2; i++) {
		struct output *output = &run->outputs[i];
		int64_t taken = 0;
		ssize_t size = -1;

		// At most one pipe's content at a time, so that an endless writer can't hold the launcher.
		for (; output->pipe_fd >= 0 && taken < PIPE_BYTES; taken += size) {
			size = read(output->pipe_fd, buffer, sizeof(buffer));
			if (size <= 0)
				break;
			if (!keep(output, buffer, size))
				run->report.flags |= LAUNCH_OUTPUT_LOST;
		}
		hurry = hurry || taken > PIPE_BYTES / 2;
		if (size == 0) {
			close(output->pipe_fd);
			output->pipe_fd = -1;
		}
	}
	run->read_after_ns = now_ns() + (hurry ? 0 : COALESCE_NS);
}

// ---- the tree -------------------------------------------------------------------------------

static void account(struct launch_message *report)
{
	struct rusage usage;

	getrusage(RUSAGE_CHILDREN, &usage);
	report->user_us = usage.ru_utime.tv_sec * 1000000LL + usage.ru_utime.tv_usec;
	report->system_us = usage.ru_stime.tv_sec * 1000000LL + usage.ru_stime.tv_usec;
	report->max_rss_kib = usage.ru_maxrss;
	report->nr_voluntary_switches = usage.ru_nvcsw;
	report->nr_involuntary_switches = usage.ru_nivcsw;
}

// Reap every child that has exited. Returns whether any child is left.
static bool reap(struct run *run)
{
	const bool exited_before = run->exited;
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == run->command) {
			run->exited = true;
			run->report.wall_ns = run->started ? now_ns() - run->started_ns : 0;
			run->report.status = status;
		}
	}
	// Once the command's unreaped children are reaped, too, and before any that it left are ended.
	if (run->exited && !exited_before)
		account(&run->report);
	return pid == 0;
}

static bool is_child(const char *pid)
{
	char path[64], stat[1024];
	const char *after_name;
	FILE *file;
	int parent;

	snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	stat[fread(stat, 1, sizeof(stat) - 1, file)] = '\0';  // the name may have newlines in it
	fclose(file);
	after_name = strrchr(stat, ')');
	return after_name && sscanf(after_name, ") %*c %d", &parent) == 1 && parent == getpid();
}

// Signal every child. Returns how many there were.
static int64_t signal_children(int signal)
{
	int64_t nr_children = 0;
	char path[64];
	FILE *children;
	int pid;

	snprintf(path, sizeof(path), CHILDREN_FILE, getpid());
	children = fopen(path, "re");
	if (children) {
		while (fscanf(children, "%d", &pid) == 1)
			nr_children += kill(pid, signal) == 0;
		fclose(children);
		return nr_children;
	}
	// A kernel without CONFIG_PROC_CHILDREN.
	DIR *proc = opendir("/proc");
	if (!proc)
		return 0;
	for (struct dirent *entry = readdir(proc); entry; entry = readdir(proc)) {
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && is_child(entry->d_name))
			nr_children += kill(atoi(entry->d_name), signal) == 0;
	}
	closedir(proc);
	return nr_children;
}

static void wait_for_signal(struct run *run, int timeout_ms)
{
	struct pollfd fd = {.fd = run->signal_fd, .events = POLLIN};
	struct signalfd_siginfo info;

	while (poll(&fd, 1, timeout_ms) > 0 && read(run->signal_fd, &info, sizeof(info)) > 0)
		timeout_ms = 0;
}

// End all that is left: ask first, then kill one generation after the other, as each death makes
// the next one the launcher's children.
static void end_tree(struct run *run)
{
	const int64_t begun_ns = now_ns();

	if (!reap(run))
		return;
	if (!run->exited)
		kill(-run->command, SIGTERM);
	signal_children(SIGTERM);
	while (reap(run)) {
		const int64_t spent_ns = now_ns() - begun_ns;

		if (spent_ns > GIVE_UP_NS) {
			run->report.flags |= LAUNCH_LEFT_BEHIND;
			return;
		}
		if (spent_ns > GRACE_NS)
			signal_children(SIGKILL);
		read_outputs(run);
		wait_for_signal(run, 10);
	}
}

// ---- the run --------------------------------------------------------------------------------

static void open_gate(struct run *run)
{
	run->started = true;
	run->started_ns = now_ns();
	(void)!write(run->gate_fd, "", 1);
}

// Returns false when the run is to be stopped.
static bool obey(struct run *run)
{
	char byte;
	ssize_t size = recv(run->control_fd, &byte, 1, 0);

	if (size == 1 && byte == LAUNCH_GO) {
		if (!run->started)
			open_gate(run);
		return true;
	}
	return size < 0 && errno == EINTR;
}

// Returns false when the run is to be stopped.
static bool handle_signals(struct run *run)
{
	struct signalfd_siginfo info;

	while (read(run->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			reap(run);
		// SIGUSR1 says that the thread that started the launcher ended: of interest if it was the last.
		else if (info.ssi_signo != SIGUSR1 || getppid() != run->parent)
			return false;
	}
	return true;
}

static int poll_timeout_ms(const struct run *run, int64_t now)
{
	int64_t until = INT64_MAX;

	if (run->started && run->timeout_ns)
		until = run->started_ns + run->timeout_ns;
	if (run->read_after_ns > now && run->read_after_ns < until)
		until = run->read_after_ns;
	if (until == INT64_MAX)
		return -1;
	if (until <= now)
		return 0;
	until = (until - now + NS_PER_MS - 1) / NS_PER_MS;
	return until > INT32_MAX ? INT32_MAX : (int)until;
}

// Until the command exits, or is to be stopped.
static void watch(struct run *run)
{
	while (!run->exited) {
		const int64_t now = now_ns();
		const bool reading = now >= run->read_after_ns;
		struct pollfd fds[] = {
			{.fd = run->signal_fd, .events = POLLIN},
			{.fd = run->control_fd, .events = POLLIN},
			{.fd = reading ? run->outputs[0].pipe_fd : -1, .events = POLLIN},
			{.fd = reading ? run->outputs[1].pipe_fd : -1, .events = POLLIN},
		};

		if (run->started && run->timeout_ns && now - run->started_ns >= run->timeout_ns) {
			run->report.flags |= LAUNCH_TIMED_OUT;
			return;
		}
		if (poll(fds, 4, poll_timeout_ms(run, now)) < 0 && errno != EINTR)
			return;
		if (fds[0].revents && !handle_signals(run)) {
			run->report.flags |= LAUNCH_STOPPED;
			return;
		}
		if (!run->exited && fds[1].revents && !obey(run)) {
			run->report.flags |= LAUNCH_STOPPED;
			return;
		}
		if (fds[2].revents || fds[3].revents)
			read_outputs(run);
	}
}

static void report(struct run *run)
{
	struct failure failure;

	for (int i = 0; i < 2; i++) {
		int64_t before = -1;

		while (before != run->outputs[i].nr_bytes) {  // nobody is left to write more
			before = run->outputs[i].nr_bytes;
			read_outputs(run);
		}
	}
	if (read(run->failure_fd, &failure, sizeof(failure)) == sizeof(failure))
		fail(run->control_fd, failure.stage, failure.error);
	run->report.kind = LAUNCH_DONE;
	run->report.pid = run->command;
	run->report.stdout_bytes = run->outputs[0].nr_bytes;
	run->report.stderr_bytes = run->outputs[1].nr_bytes;
	send_message(run->control_fd, &run->report);
}

// Fork the command's process and connect it. Everything else about it happens behind the gate.
static void hold(struct run *run, const struct options *options)
{
	int ready[2], gate[2], failure[2], streams[2][2];
	const pid_t launcher = getpid();
	char byte;

	if (pipe2(ready, O_CLOEXEC) < 0 || pipe2(gate, O_CLOEXEC) < 0 || pipe2(failure, O_CLOEXEC) < 0
	    || pipe2(streams[0], O_CLOEXEC) < 0 || pipe2(streams[1], O_CLOEXEC) < 0)
		fail(options->control_fd, LAUNCH_STAGE_SETUP, errno);
	for (int i = 0; i < 2; i++) {
		fcntl(streams[i][0], F_SETFL, O_NONBLOCK);
		(void)fcntl(streams[i][0], F_SETPIPE_SZ, PIPE_BYTES);  // the default size does, too
		if (options->switch_user)
			(void)!fchown(streams[i][1], options->uid, options->gid);  // so that it may open /dev/stdout
		run->outputs[i] = (struct output){
			.pipe_fd = streams[i][0], .file_fd = STDOUT_FILENO + i, .keep_bytes = options->keep_bytes};
	}
	fcntl(failure[0], F_SETFL, O_NONBLOCK);
	run->command = fork();
	if (run->command < 0)
		fail(options->control_fd, LAUNCH_STAGE_SETUP, errno);
	if (run->command == 0) {
		close(gate[1]);
		be_command(options, ready[1], gate[0], streams[0][1], streams[1][1], failure[1], launcher);
	}
	close(ready[1]);
	(void)!read(ready[0], &byte, 1);  // nothing comes of a child that failed; its gate tells
	close(ready[0]);
	close(gate[0]);
	close(failure[1]);
	close(streams[0][1]);
	close(streams[1][1]);
	run->gate_fd = gate[1];
	run->failure_fd = failure[0];
}

int main(int argc, char **argv)
{
	struct options options;
	struct run run = {.parent = getppid()};
	struct launch_message held = {.kind = LAUNCH_HELD};
	sigset_t handled;

	parse_options(&options, argc, argv);
	run.control_fd = options.control_fd;
	run.timeout_ns = options.timeout_ns;
	fcntl(options.control_fd, F_SETFD, FD_CLOEXEC);
	signal(SIGCHLD, SIG_DFL);  // inherited as ignored, it would hide exit codes
	prctl(PR_SET_PDEATHSIG, SIGUSR1);
	sigemptyset(&handled);
	sigaddset(&handled, SIGCHLD);
	sigaddset(&handled, SIGTERM);
	sigaddset(&handled, SIGINT);
	sigaddset(&handled, SIGHUP);
	sigaddset(&handled, SIGUSR1);
	sigprocmask(SIG_BLOCK, &handled, NULL);
	run.signal_fd = signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK);
	if (run.signal_fd < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		fail(options.control_fd, LAUNCH_STAGE_SETUP, errno);

	hold(&run, &options);
	signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes costs output, not the run
	held.pid = run.command;
	send_message(run.control_fd, &held);
	watch(&run);
	if (run.exited)
		run.report.nr_leftovers = signal_children(0);
	end_tree(&run);
	report(&run);
	return 0;
}
