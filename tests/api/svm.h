/* SPDX-License-Identifier: MIT */
/*
 * A guest that enters one of its own by VMRUN, for the tests of nested SVM.
 *
 * L1 runs in 64-bit mode at CPL 0.  Its program at GUEST_CODE does VMRUN, then
 * OUT to SVM_EXITED, for ever; so each svm_run() is one entry, and the test
 * looks at the VMCB between.  L2 begins in the same mode, with the same tables,
 * at SVM_L2.  What the VMCB's fields are called and where they lie is written
 * down here once more, from the manual: APM 2, appendix B.
 */
#ifndef TESTS_API_SVM_H
#define TESTS_API_SVM_H

#include "guest.h"

#define SVM_MEM 0x100000UL      /* a slot of its own, with what follows */
#define SVM_MEM_SIZE 0x20000UL
#define SVM_VMCB SVM_MEM
#define SVM_HSAVE (SVM_MEM + 0x1000)
#define SVM_MSRPM (SVM_MEM + 0x2000)
#define SVM_IOPM (SVM_MEM + 0x4000)
#define SVM_NPT (SVM_MEM + 0x7000)      /* four tables: L2's first 2 MiB are L1's, in pages */
#define SVM_NPT_PT (SVM_NPT + 0x3000)
#define SVM_FREE (SVM_MEM + 0xc000)     /* for the test's own */
#define SVM_L2 0x2000UL
#define SVM_L2_STACK 0x9000UL
#define SVM_EXITED 0x10
#define SVM_FAULT 0x40          /* OUT to this port + vector: an exception that nothing else takes */

/* The control area. */
enum {
	C_CR_READ = 0x00, C_CR_WRITE = 0x02, C_DR_READ = 0x04, C_DR_WRITE = 0x06, C_EXCEPTIONS = 0x08,
	C_WORD3 = 0x0c, C_WORD4 = 0x10, C_WORD5 = 0x14, C_PAUSE_THRESHOLD = 0x3c, C_PAUSE_COUNT = 0x3e,
	C_IOPM = 0x40, C_MSRPM = 0x48, C_TSC_OFFSET = 0x50, C_ASID = 0x58, C_TLB = 0x5c, C_INT_CTL = 0x60,
	C_INT_VECTOR = 0x64, C_INT_STATE = 0x68, C_EXIT_CODE = 0x70, C_INFO1 = 0x78, C_INFO2 = 0x80,
	C_EXIT_INT_INFO = 0x88, C_NESTED_CTL = 0x90, C_EVENT_INJ = 0xa8, C_NESTED_CR3 = 0xb0, C_VIRT_EXT = 0xb8,
	C_CLEAN = 0xc0, C_NEXT_RIP = 0xc8, C_INSN_LEN = 0xd0,
};

/* The save area. */
enum {
	S_ES = 0x400, S_CS = 0x410, S_SS = 0x420, S_DS = 0x430, S_FS = 0x440, S_GS = 0x450, S_GDTR = 0x460,
	S_LDTR = 0x470, S_IDTR = 0x480, S_TR = 0x490, S_CPL = 0x4cb, S_EFER = 0x4d0, S_CR4 = 0x548, S_CR3 = 0x550,
	S_CR0 = 0x558, S_DR7 = 0x560, S_DR6 = 0x568, S_RFLAGS = 0x570, S_RIP = 0x578, S_RSP = 0x5d8, S_RAX = 0x5f8,
	S_STAR = 0x600, S_KERNEL_GS_BASE = 0x620, S_CR2 = 0x640, S_PAT = 0x668, S_DEBUGCTL = 0x670,
	S_BR_FROM = 0x678, S_BR_TO = 0x680, S_INT_FROM = 0x688, S_INT_TO = 0x690,
};

/* C_WORD3 and C_WORD4 of every VMCB that svm_start() makes: VMRUN, VMMCALL, shutdown. */
#define SVM_WORD3 (1u << 31)
#define SVM_WORD4 3u

#define EXIT_VMMCALL 0x81
#define EXIT_SHUTDOWN 0x7f
#define EXIT_NPF 0x400
#define EXIT_INVALID (~0ULL)

/* EDX of CPUID 0x8000000A. */
#define SVM_NPT_BIT (1u << 0)
#define SVM_LBRV (1u << 1)
#define SVM_NRIPS (1u << 3)
#define SVM_TSC_RATE (1u << 4)
#define SVM_DECODE (1u << 7)
#define SVM_PAUSE (1u << 10)
#define SVM_PAUSE_THRESHOLD (1u << 12)
#define SVM_VLS (1u << 15)
#define SVM_VGIF (1u << 16)
#define SVM_VNMI (1u << 25)

struct svm {
	struct guest g;
	uint8_t *mem;           /* at SVM_MEM */
	uint8_t *vmcb;
	struct cpuid_table *cpuid;
};

/**
 * svm_start - L2's @code, @n bytes.  The CPU has all features that are offered, but those in @without, EDX of CPUID
 * 0x8000000A.  Skips the test where the device has no SVM, or not one of the bits in @with.
 */
struct svm svm_start(const uint8_t *code, size_t n, uint32_t with, uint32_t without, bool irqchip);
void svm_end(struct svm *s);

#define SVM(with, without, ...) \
	svm_start((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }), with, without, false)

/** svm_code - other code for L2, at @at of the guest's first 64 KiB. */
void svm_code(struct svm *s, uint16_t at, const uint8_t *code, size_t n);

#define SVM_CODE(s, at, ...) \
	svm_code(s, at, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/** svm_run - to the next exit to L1, whose code it returns.  svm_expect - it has to be this one. */
uint64_t svm_run(struct svm *s);
void svm_expect(struct svm *s, uint64_t code);

/** svm_npt - L2 runs with nested paging. */
void svm_npt(struct svm *s);

/** svm_get, svm_put - a field of the VMCB of @size bytes. */
uint64_t svm_get(struct svm *s, unsigned int at, unsigned int size);
void svm_put(struct svm *s, unsigned int at, unsigned int size, uint64_t value);

static inline uint64_t svm_get8(struct svm *s, unsigned int at)
{
	return svm_get(s, at, 8);
}

static inline void svm_put8(struct svm *s, unsigned int at, uint64_t value)
{
	svm_put(s, at, 8, value);
}

static inline void svm_put4(struct svm *s, unsigned int at, uint32_t value)
{
	svm_put(s, at, 4, value);
}

/** svm_rewind - L2 goes on at its first instruction. */
static inline void svm_rewind(struct svm *s)
{
	svm_put8(s, S_RIP, SVM_L2);
}

#define VMMCALL 0x0f, 0x01, 0xd9

#endif
