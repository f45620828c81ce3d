// SPDX-License-Identifier: Apache-2.0
// Wait until a process ends; where it did not say that it has put everything back, run a command that does.
//
// Native, because it must be there when memory is not: it allocates nothing after its start, is the last
// that the kernel would kill for memory, and is in a control group of its own where that can be, so that
// what ends the group of the process that it watches does not end it, too.
//
// usage: schedtuna-watch CONTROL_FD PID_FD GROUP COMMAND [ARGUMENT...]
//
// CONTROL_FD is a SOCK_SEQPACKET socket. It gets one message at the start (struct ready). A message that
// comes from there (one byte, 'd') says that nothing is left to be done. PID_FD is a pidfd. GROUP is the
// folder of a control group of version 2 to be made, or `-`.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CGROUP_ROOT "/sys/fs/cgroup"
#define MAX_PATH 4096
#define MAX_TRIES 5
#define PAUSE_S 1

// What of its precautions is in force: 1 or 0.
struct ready {
	uint8_t last_to_be_killed;  // oom_score_adj -1000
	uint8_t own_group;
	uint8_t locked;	 // in memory
};

static char origin[MAX_PATH];  // its control group before, as a folder

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool written;

	if (fd < 0)
		return false;
	written = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return written;
}

static bool join_group(const char *folder)
{
	char path[MAX_PATH + 16];

	snprintf(path, sizeof(path), "%s/cgroup.procs", folder);
	return write_file(path, "0\n");
}

// The line "0::/path" of /proc/self/cgroup; there is none without version 2.
static bool find_origin(void)
{
	char text[MAX_PATH], *at, *end;
	int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
	ssize_t size;

	if (fd < 0)
		return false;
	size = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (size <= 0)
		return false;
	text[size] = '\0';
	at = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
	if (!at)
		return false;
	at = strstr(at, "0::") + 3;
	end = strchr(at, '\n');
	if (end)
		*end = '\0';
	return snprintf(origin, sizeof(origin), CGROUP_ROOT "%s", at) < (int)sizeof(origin);
}

static bool make_group(const char *folder)
{
	if (strcmp(folder, "-") == 0 || !find_origin() || mkdir(folder, 0755))
		return false;
	if (join_group(folder))
		return true;
	rmdir(folder);
	return false;
}

static void leave_group(const char *folder, bool made)
{
	if (made && (join_group(origin) || join_group(CGROUP_ROOT)))
		rmdir(folder);
}

static bool is_done(int control_fd)
{
	char byte;

	return recv(control_fd, &byte, 1, MSG_DONTWAIT) == 1 && byte == 'd';
}

// Whether the process ended without a word.
static bool wait_for_end(int control_fd, int pid_fd)
{
	struct pollfd fds[2] = {{.fd = control_fd, .events = POLLIN}, {.fd = pid_fd, .events = POLLIN}};

	for (;;) {
		if (poll(fds, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return true;
		}
		if (fds[0].revents) {
			if (is_done(control_fd))
				return false;
			if (fds[0].revents & (POLLHUP | POLLERR))
				fds[0].fd = -1;	 // it is closed: wait for the end itself
		}
		if (fds[1].revents)
			return !is_done(control_fd);
	}
}

static int run(char **command)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		signal(SIGTERM, SIG_DFL);
		signal(SIGINT, SIG_DFL);
		signal(SIGHUP, SIG_DFL);
		execv(command[0], command);
		_exit(127);
	}
	if (child < 0)
		return -1;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(int argc, char **argv)
{
	struct ready ready = {0};
	int control_fd, pid_fd, tries;

	if (argc < 5) {
		fprintf(stderr, "usage: schedtuna-watch CONTROL_FD PID_FD GROUP COMMAND [ARGUMENT...]\n");
		return 2;
	}
	control_fd = atoi(argv[1]);
	pid_fd = atoi(argv[2]);
	setsid();
	prctl(PR_SET_NAME, "schedtuna-watch");
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	fcntl(control_fd, F_SETFD, FD_CLOEXEC);
	fcntl(pid_fd, F_SETFD, FD_CLOEXEC);
	ready.last_to_be_killed = write_file("/proc/self/oom_score_adj", "-1000\n");
	ready.own_group = make_group(argv[3]);
	ready.locked = mlockall(MCL_CURRENT | MCL_FUTURE) == 0;
	(void)!send(control_fd, &ready, sizeof(ready), MSG_NOSIGNAL);
	if (wait_for_end(control_fd, pid_fd))
		for (tries = 0; tries < MAX_TRIES && run(argv + 4) != 0; tries++)
			sleep(PAUSE_S);
	leave_group(argv[3], ready.own_group);
	return 0;
}
