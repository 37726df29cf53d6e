/* SPDX-License-Identifier: MIT */
#include "vmm/stats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_DESCS 4096u

/* KVM bounds names itself, but the descriptor is only read, not believed. */
static void put_name(FILE *f, const char *name, size_t max)
{
	fputc('"', f);
	for (size_t i = 0; i < max && name[i]; i++)
		if (name[i] >= ' ' && name[i] != '"' && name[i] != '\\' && (unsigned char)name[i] < 127)
			fputc(name[i], f);
	fputs("\": ", f);
}

static int put_values(FILE *f, int fd, uint64_t off, unsigned int count)
{
	uint64_t v;

	if (count != 1)
		fputc('[', f);
	for (unsigned int i = 0; i < count; i++) {
		if (pread(fd, &v, sizeof(v), off + i * sizeof(v)) != sizeof(v))
			return -EIO;
		fprintf(f, "%s%llu", i ? ", " : "", (unsigned long long)v);
	}
	if (count != 1)
		fputc(']', f);
	return 0;
}

static int put_stats(FILE *f, int fd)
{
	struct kvm_stats_header h;
	struct kvm_stats_desc *d;
	size_t size;
	int err = 0;

	if (pread(fd, &h, sizeof(h), 0) != sizeof(h) || h.num_desc > MAX_DESCS || h.name_size > 4096)
		return -EIO;
	size = sizeof(*d) + h.name_size;
	d = malloc(size);
	if (!d)
		return -ENOMEM;
	fputs("{", f);
	for (uint32_t i = 0; i < h.num_desc && !err; i++) {
		if (pread(fd, d, size, h.desc_offset + i * size) != (ssize_t)size) {
			err = -EIO;
			break;
		}
		fputs(i ? ", " : "", f);
		put_name(f, d->name, h.name_size);
		err = put_values(f, fd, (uint64_t)h.data_offset + d->offset, d->size);
	}
	fputs("}", f);
	free(d);
	return err;
}

void stats_show(const struct kvm_vm *vm, int owner)
{
	int fd = vm->ops->ioctl(owner, KVM_GET_STATS_FD, NULL);

	if (fd >= 0)
		vm->ops->close(fd);
}

static int put_object(FILE *f, const struct kvm_vm *vm, int owner)
{
	int fd = vm->ops->ioctl(owner, KVM_GET_STATS_FD, NULL), err;

	if (fd < 0)
		return -errno;
	err = put_stats(f, fd);
	vm->ops->close(fd);
	return err;
}

static int put_all(FILE *f, const struct kvm_vm *vm, const struct vcpu *vcpus, unsigned int count)
{
	int err;

	fputs("{\"vm\": ", f);
	err = put_object(f, vm, vm->vm_fd);
	fputs(",\n\"vcpus\": [", f);
	for (unsigned int i = 0; i < count && !err; i++) {
		fputs(i ? ",\n" : "", f);
		err = put_object(f, vm, vcpus[i].fd);
	}
	fputs("]}\n", f);
	return err;
}

int stats_write(const char *path, const struct kvm_vm *vm, const struct vcpu *vcpus, unsigned int count,
		struct vmm_err *err)
{
	char tmp[4096];
	FILE *f;
	int r;

	if (snprintf(tmp, sizeof(tmp), "%s.tmp.%d", path, getpid()) >= (int)sizeof(tmp))
		return vmm_fail(err, ENAMETOOLONG, "%s: cannot write statistics: name too long", path);
	f = fopen(tmp, "we");
	if (!f)
		return vmm_fail(err, errno, "%s: cannot write statistics: %s", path, strerror(errno));
	r = put_all(f, vm, vcpus, count);
	if (fclose(f) && !r)
		r = -errno;
	if (!r && rename(tmp, path))
		r = -errno;
	if (r) {
		unlink(tmp);
		vmm_fail(err, -r, "%s: cannot write statistics: %s", path, strerror(-r));
	}
	return r;
}
