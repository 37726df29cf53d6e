/* SPDX-License-Identifier: MIT */
/*
 * exec() and posix_spawn(), under all their names.
 *
 * 1. A program that is started with an environment of the client's making gets
 *    our variables again: LD_PRELOAD where it is missing or names others only, and
 *    the settings.  LD_PRELOAD that is there and empty says that nothing is wanted.
 * 2. A program that cannot be reached runs as ever where it has no business
 *    with KVM.  One whose text has "/dev/kvm" would run without us, and nobody would
 *    know: it is refused, with a line on standard error and EPERM.
 *
 * Nothing is allocated, and libc's variables are left alone: children of vfork()
 * come here.
 */
#include <alloca.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "preload/engine.h"
#include "preload/next.h"
#include "preload/reach.h"

#define PRELOAD "LD_PRELOAD="

/* --- the environment --- */

static const char *find(char *const env[], const char *assignment)
{
	size_t name = strcspn(assignment, "=") + 1;

	for (; env && *env; env++)
		if (!strncmp(*env, assignment, name))
			return *env;
	return NULL;
}

static char *append(char *to, const char *text)
{
	size_t n = strlen(text);

	memcpy(to, text, n + 1);
	return to + n;
}

/* Whether @env lacks LD_PRELOAD as it has to be; then that is put to @room. */
static bool preload_for(char *const env[], char *room)
{
	const char *now = find(env, PRELOAD), *ours = engine_preload(), *value;

	if (!ours)
		return false;
	value = now ? now + strlen(PRELOAD) : NULL;
	if (value && (!*value || strstr(value, ours)))
		return false;
	room = append(append(room, PRELOAD), ours);
	if (value)
		append(append(room, ":"), value);
	return true;
}

static size_t count(char *const env[])
{
	size_t n = 0;

	while (env && env[n])
		n++;
	return n;
}

/* Bytes that environment() may fill. */
static size_t room_for(char *const env[])
{
	const char *now = find(env, PRELOAD), *ours = engine_preload();

	return (count(env) + ENGINE_SETTINGS + 2) * sizeof(char *) + sizeof(PRELOAD) + (now ? strlen(now) : 0) +
	       (ours ? strlen(ours) : 0) + 2;
}

static char *const *environment(char *const env[], void *room)
{
	size_t n = 0, old = count(env);
	char **to = room, *text = (char *)&to[old + ENGINE_SETTINGS + 2];
	bool preload = preload_for(env, text);

	for (size_t i = 0; i < old; i++)
		if (!preload || strncmp(env[i], PRELOAD, strlen(PRELOAD)))
			to[n++] = env[i];
	if (preload)
		to[n++] = text;
	/* Who has switched us off does not want the settings either. */
	for (unsigned int i = 0; i < ENGINE_SETTINGS && engine_preload(); i++) {
		const char *setting = engine_setting(i);

		if (*setting && !find(env, setting))
			to[n++] = (char *)setting;
	}
	to[n] = NULL;
	return to;
}

#define WITH_OURS(env) environment(env, alloca(room_for(env)))

/* --- the program --- */

static void say(const char *path, const char *why)
{
	char line[PATH_MAX + 256];
	int n = snprintf(line, sizeof(line), "anykvm: %s: %s: anykvm cannot be preloaded into it, and it names /dev/kvm: "
			 "not started\n", path, why);

	/* Where nobody can be told, EPERM says it. */
	if (n > 0 && write(STDERR_FILENO, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1) < 0)
		errno = EPERM;
}

/* Whether what @fd names must not run; says so. */
static bool refuse_fd(int fd, const char *name)
{
	struct reach_image image;
	char words[128];
	const char *why = NULL;

	if (reach_map(&image, fd))
		return false;
	if (reach_is_elf(&image))
		why = reach_gains_rights(fd) ? "it runs with more rights than its caller" : reach_why_not(&image, words);
	if (why && !reach_names_device(&image))
		why = NULL;
	reach_unmap(&image);
	if (why)
		say(name, why);
	return why;
}

static bool refuse_at(int dirfd, const char *path, int flags)
{
	int err = errno, fd;
	bool refused;

	if (!engine_preload())
		return false;
	if (flags & AT_EMPTY_PATH && path && !*path)
		return refuse_fd(dirfd, "a descriptor");
	fd = (int)syscall(SYS_openat, dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	refused = fd >= 0 && refuse_fd(fd, path);
	if (fd >= 0)
		close(fd);
	errno = refused ? EPERM : err;
	return refused;
}

/* As execvp() finds it: the first that may be executed. */
static bool refuse_found(const char *file)
{
	const char *path = getenv("PATH");
	char at[PATH_MAX];

	if (strchr(file, '/'))
		return refuse_at(AT_FDCWD, file, 0);
	for (path = path ? path : "/bin:/usr/bin";; path++) {
		int len = (int)strcspn(path, ":");
		int n = snprintf(at, sizeof(at), "%.*s%s%s", len, path, len ? "/" : "", file);

		if (n < (int)sizeof(at) && !syscall(SYS_faccessat, AT_FDCWD, at, X_OK))
			return refuse_at(AT_FDCWD, at, 0);
		path += len;
		if (!*path)
			return false;
	}
}

/* --- exec() --- */

EXPORT int execve(const char *path, char *const argv[], char *const env[])
{
	return refuse_at(AT_FDCWD, path, 0) ? -1 : NEXT_CALL(execve, path, argv, WITH_OURS(env));
}

EXPORT int execv(const char *path, char *const argv[])
{
	return execve(path, argv, environ);
}

EXPORT int execvpe(const char *file, char *const argv[], char *const env[])
{
	return refuse_found(file) ? -1 : NEXT_CALL(execvpe, file, argv, WITH_OURS(env));
}

EXPORT int execvp(const char *file, char *const argv[])
{
	return execvpe(file, argv, environ);
}

EXPORT int execveat(int dirfd, const char *path, char *const argv[], char *const env[], int flags)
{
	return refuse_at(dirfd, path, flags) ? -1 : NEXT_CALL(execveat, dirfd, path, argv, WITH_OURS(env), flags);
}

EXPORT int fexecve(int fd, char *const argv[], char *const env[])
{
	return refuse_at(fd, "", AT_EMPTY_PATH) ? -1 : NEXT_CALL(fexecve, fd, argv, WITH_OURS(env));
}

/* The arguments of execl() and its kin; @last is behind the NULL. */
#define GATHER(first, argv, ap) \
	do { \
		size_t n = 1; \
		va_start(ap, first); \
		while (va_arg(ap, char *)) \
			n++; \
		va_end(ap); \
		argv = alloca((n + 1) * sizeof(char *)); \
		argv[0] = (char *)first; \
		va_start(ap, first); \
		for (size_t i = 1; i <= n; i++) \
			argv[i] = va_arg(ap, char *); \
	} while (0)

EXPORT int execl(const char *path, const char *arg, ...)
{
	char **argv;
	va_list ap;

	GATHER(arg, argv, ap);
	va_end(ap);
	return execve(path, argv, environ);
}

EXPORT int execlp(const char *file, const char *arg, ...)
{
	char **argv;
	va_list ap;

	GATHER(arg, argv, ap);
	va_end(ap);
	return execvpe(file, argv, environ);
}

EXPORT int execle(const char *path, const char *arg, ...)
{
	char **argv, *const *env;
	va_list ap;

	GATHER(arg, argv, ap);
	env = va_arg(ap, char *const *);
	va_end(ap);
	return execve(path, argv, env);
}

/* --- posix_spawn(): what its actions close in the child is no business of ours here --- */

EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
		       const posix_spawnattr_t *attr, char *const argv[], char *const env[])
{
	if (refuse_at(AT_FDCWD, path, 0))
		return EPERM;
	return NEXT(posix_spawn) ? NEXT(posix_spawn)(pid, path, actions, attr, argv, WITH_OURS(env)) : ENOSYS;
}

EXPORT int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
			const posix_spawnattr_t *attr, char *const argv[], char *const env[])
{
	if (refuse_found(file))
		return EPERM;
	return NEXT(posix_spawnp) ? NEXT(posix_spawnp)(pid, file, actions, attr, argv, WITH_OURS(env)) : ENOSYS;
}
