/* SPDX-License-Identifier: MIT */
/*
 * anykvm.h - the library's public face: the Linux KVM API without a kernel.
 *
 * Everything beyond these functions is <linux/kvm.h> of Linux 6.1, and the few
 * requests of later kernels at the end of this file.  The descriptors are
 * real file descriptors (memfds): mmap() of a vCPU's kvm_run, pread() of
 * statistics, dup() and poll() are the kernel's own and need no function here.
 */
#ifndef ANYKVM_H
#define ANYKVM_H

#include <linux/kvm.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ANYKVM_PUBLIC __attribute__((visibility("default")))

/**
 * anykvm_open - what open("/dev/kvm", flags) is for the kernel.
 * @flags: O_RDWR, optionally O_CLOEXEC.
 * Returns a descriptor that the caller closes with anykvm_close(), or -1 with
 * errno (EMFILE, ENFILE, ENOMEM).
 */
ANYKVM_PUBLIC int anykvm_open(int flags);

/**
 * anykvm_ioctl - ioctl(2) on a system, VM, vCPU, device or statistics
 * descriptor of this library; api.rst documents each request.
 * @fd: from anykvm_open() or returned by an earlier request.
 * @request: KVM_*.
 * @arg: as the request says: a pointer, or a number cast to one.
 * Returns as the request says; -1 with errno on error.  ENOTTY where @fd is
 * not one of ours or does not know @request.
 */
ANYKVM_PUBLIC int anykvm_ioctl(int fd, unsigned long request, void *arg);

/**
 * anykvm_close - close(2) for a descriptor of this library.  The last close of
 * a VM and of all its vCPUs frees the VM.  Memory that the client mapped stays
 * mapped and is the client's.
 */
ANYKVM_PUBLIC int anykvm_close(int fd);

/** anykvm_owns - 1 if @fd is a descriptor of this library, else 0. */
ANYKVM_PUBLIC int anykvm_owns(int fd);

/**
 * anykvm_tracks - 1 if @fd is a descriptor of this library as far as that is
 * known, else 0.  Async-signal-safe: no lock, no system call.  What it does not
 * know is a duplicate that was never used with this library, and a descriptor
 * that was closed without anykvm_close().
 */
ANYKVM_PUBLIC int anykvm_tracks(int fd);

/**
 * anykvm_recheck - the client has closed or replaced descriptors from @first to
 * @last without anykvm_close(), as close_range() and dup2() do: what they named
 * is let go now instead of at the next use of their numbers.
 */
ANYKVM_PUBLIC void anykvm_recheck(int first, int last);

/**
 * anykvm_sigaction - sigaction(2) for a client that wants its own handlers of
 * SIGSEGV, SIGBUS or SIGFPE beside the library's: those stay in front and go on
 * to @act with all that is not theirs, and @old is what the client set before.
 * Any other signal: sigaction(2) itself.  Async-signal-safe.
 * @sig 0: tells that every such call comes here from now on, which saves the
 * library from looking for its handlers at each request.
 */
struct sigaction;
ANYKVM_PUBLIC int anykvm_sigaction(int sig, const struct sigaction *act, struct sigaction *old);

/** anykvm_version - the library's version, "0.1.0"; static, never freed. */
ANYKVM_PUBLIC const char *anykvm_version(void);

/**
 * anykvm_set_cpu - chooses the CPU model that VMs created from now on offer
 * through KVM_GET_SUPPORTED_CPUID.
 * @spec: "intel", "amd" or "host" (the host's vendor), then ",+feature" and
 * ",-feature" by their names in /proc/cpuinfo.  NULL is "host".  Without a call
 * PKU is left out where the host's own XSAVE layout has no place for it, since
 * some clients ask the host for that.
 * Returns 0, or -1 with errno EINVAL where the vendor or a feature is unknown.
 */
ANYKVM_PUBLIC int anykvm_set_cpu(const char *spec);

/**
 * anykvm_set_parameters - sets parameters of KVM's modules, for VMs created from now on.
 * @spec: as on the kernel's command line, separated by commas:
 * "kvm.enable_vmware_backdoor=Y" lets code at CPL 3 use VMware's two ports
 * whatever its TSS says (default N);
 * "kvm.ignore_msrs=Y": an MSR that does not exist reads as zero and takes any
 * value, instead of #GP (default N; from now on, for all VMs);
 * "kvm.report_ignored_msrs=N": without the line on standard error that tells of
 * each such access, ten in five seconds at most (default Y);
 * "kvm.global_tdp=Y" makes all memory of a slot resident when the slot is made,
 * and leaves system management mode out (default N);
 * "anykvm.hyperv_nested=Y": a guest that has VMX or SVM, and whose client gives it
 * no leaves of Hyper-V's, finds Hyper-V in CPUID instead of KVM, with what is there
 * for a hypervisor inside, such as the enlightened VMCS (default N).
 * Returns 0, or -1 with errno and nothing set: ENOENT, there is no such
 * parameter that can be set; EINVAL, a value is neither true nor false.
 */
ANYKVM_PUBLIC int anykvm_set_parameters(const char *spec);

/** anykvm_get_parameter - 1 or 0; -1 with errno ENOENT where there is no such parameter that can be set. */
ANYKVM_PUBLIC int anykvm_get_parameter(const char *name);

/**
 * anykvm_trace - writes KVM's events (kvm_exit, kvm_pio, ...) of VMs created from
 * now on to the end of the file @path, in the layout of ftrace's trace file; NULL:
 * no longer.  Returns 0, or -1 with errno as of open().
 */
ANYKVM_PUBLIC int anykvm_trace(const char *path);

/**
 * A private number for KVM_CHECK_EXTENSION that answers 1 here and 0 on every
 * kernel: tells which engine runs.
 */
#define ANYKVM_CAP_ENGINE 0x616b766dL /* "akvm" */

/* --- of later kernels: api.rst there documents them --- */

#ifndef KVM_SET_USER_MEMORY_REGION2 /* Linux 6.8; without memory of a guest's own there is no KVM_MEM_GUEST_MEMFD */
#define KVM_CAP_USER_MEMORY2 231
#define KVM_SET_USER_MEMORY_REGION2 _IOW(KVMIO, 0x49, struct kvm_userspace_memory_region2)
struct kvm_userspace_memory_region2 {
	__u32 slot, flags;
	__u64 guest_phys_addr, memory_size, userspace_addr;
	__u64 guest_memfd_offset;       /* this and the rest: not looked at */
	__u32 guest_memfd, pad1;
	__u64 pad2[14];
};
#endif

#ifndef KVM_PRE_FAULT_MEMORY /* Linux 6.11 */
#define KVM_CAP_PRE_FAULT_MEMORY 236
#define KVM_PRE_FAULT_MEMORY _IOWR(KVMIO, 0xd5, struct kvm_pre_fault_memory)
struct kvm_pre_fault_memory {
	__u64 gpa, size;        /* of whole pages; on return what is left */
	__u64 flags;            /* 0 */
	__u64 padding[5];
};
#endif

#ifdef __cplusplus
}
#endif
#endif
