/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first process of a guest: makes the host's root filesystem the guest's,
 * below an overlay in memory that takes what is written, and runs the control program on it.  Static, and all that the initramfs
 * holds besides the modules that a distribution's kernel needs to get there.
 *
 * The kernel hands over what it does not know of its command line as environment:
 *   crab_control	the program, as a path on the host
 *   crab_shared	a directory of the host that is the guest's too, writable
 *   crab_modules	what to show as /lib/modules, if the kernel has modules
 *
 * Every failure ends the guest at once, with its reason on the console: the host
 * sees that the control port never spoke.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOST "/host"
#define MEMORY "/memory"
#define ROOT "/root"
/* The root does not change under the guest, so that its cache need not ask the host again. */
#define OPTIONS "trans=virtio,version=9p2000.L,msize=512000,"

static void end(void)
{
	sync();
	/* With -no-reboot this is QEMU's end. */
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

static void fail(const char *what, const char *which)
{
	printf("init: %s %s: %s\n", what, which, strerror(errno));
	end();
}

static void mount_on(const char *source, const char *target, const char *type,
		     unsigned long flags, const char *options)
{
	if (mount(source, target, type, flags, options) != 0)
		fail("mount", target);
}

/* Where the kernel has it: a file system that is not configured is no failure. */
static void mount_if_there(const char *target, const char *type)
{
	if (mount("none", target, type, 0, NULL) != 0 && errno != ENODEV && errno != ENOENT)
		fail("mount", target);
}

static void make_directories(char *path)
{
	char *at = path;

	while ((at = strchr(at + 1, '/')) != NULL) {
		*at = '\0';
		mkdir(path, 0755);
		*at = '/';
	}
	if (mkdir(path, 0755) != 0 && errno != EEXIST)
		fail("mkdir", path);
}

/* /modules/order names them, each after those that it needs. */
static void load_modules(void)
{
	FILE *order = fopen("/modules/order", "re");
	char name[256], path[300];

	if (!order)
		return;
	while (fscanf(order, "%255s", name) == 1) {
		int fd;

		snprintf(path, sizeof(path), "/modules/%s", name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) != 0)
			fail("load", path);
		close(fd);
	}
	fclose(order);
}

static void enter_root(void)
{
	const char *modules = getenv("crab_modules");

	mkdir(HOST, 0755);
	mkdir(MEMORY, 0755);
	mkdir(ROOT, 0755);
	mount_on("root", HOST, "9p", MS_RDONLY, OPTIONS "cache=loose");
	mount_on("none", MEMORY, "tmpfs", 0, "mode=755");
	mkdir(MEMORY "/upper", 0755);
	mkdir(MEMORY "/work", 0755);
	mount_on("none", ROOT, "overlay", 0,
		 "lowerdir=" HOST ",upperdir=" MEMORY "/upper,workdir=" MEMORY "/work");
	mount_on("none", ROOT "/proc", "proc", 0, NULL);
	mount_on("none", ROOT "/sys", "sysfs", 0, NULL);
	mount_on("none", ROOT "/dev", "devtmpfs", 0, NULL);
	if (modules) {
		char *source = malloc(strlen(ROOT) + strlen(modules) + 1);

		strcpy(stpcpy(source, ROOT), modules);
		mount_on(source, ROOT "/lib/modules", NULL, MS_BIND, NULL);
		free(source);
	}
	if (chdir(ROOT) != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 ||
	    chdir("/") != 0)
		fail("enter", ROOT);
}

static void mount_the_rest(void)
{
	char *shared = getenv("crab_shared");

	mount_on("none", "/run", "tmpfs", 0, "mode=755");
	mkdir("/dev/pts", 0755);
	mkdir("/dev/shm", 01777);
	mount_if_there("/dev/pts", "devpts");
	mount_on("none", "/dev/shm", "tmpfs", 0, "mode=1777");
	mount_if_there("/sys/fs/cgroup", "cgroup2");
	mount_if_there("/sys/fs/bpf", "bpf");
	mount_if_there("/sys/kernel/debug", "debugfs");
	mount_if_there("/sys/kernel/tracing", "tracefs");
	if (shared) {
		make_directories(shared);
		mount_on("shared", shared, "9p", 0, OPTIONS "cache=none");
	}
}

int main(void)
{
	char *control = getenv("crab_control");
	pid_t child, ended;

	setvbuf(stdout, NULL, _IOLBF, 0);
	mkdir("/dev", 0755);
	/* The kernel found no console in the initramfs: ours comes with devtmpfs. */
	if (mount("none", "/dev", "devtmpfs", 0, NULL) != 0 ||
	    !freopen("/dev/console", "r+", stdin) || !freopen("/dev/console", "w", stdout) ||
	    !freopen("/dev/console", "w", stderr))
		fail("open", "/dev/console");
	load_modules();
	enter_root();
	mount_the_rest();
	child = fork();
	if (child == 0) {
		char *const arguments[] = {"/usr/bin/python3", "-B", control, NULL};
		char *const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp",
					     "LC_ALL=C.UTF-8", NULL};

		setsid();
		execve(arguments[0], arguments, environment);
		printf("init: run %s: %s\n", control, strerror(errno));
		_exit(127);
	}
	do
		ended = wait(NULL);
	while (ended != child && (ended > 0 || errno == EINTR));
	end();
}
