/* SPDX-License-Identifier: MIT */
/*
 * The one table of CPUID features: name, bit, and what a feature needs before
 * it is offered.  A bit that is not here does not exist for a guest, unless the
 * client sets it by KVM_SET_CPUID2 (the guest then reads it, and nothing
 * follows from it).
 *
 * Names are those of /proc/cpuinfo; X86_F_<NAME> is the same in upper case.
 */
#ifndef X86_FEATURES_H
#define X86_FEATURES_H

#include <stdbool.h>
#include <stdint.h>

#include "x86/cpu/cpu.h"

/* What a feature needs. */
enum x86_feature_need {
	NEED_NOTHING,           /* built in software: offered on any host */
	NEED_HOST,              /* executed by the host: its CPUID must have the bit */
	NEED_YMM,               /* the same, and the host's OS must keep the upper halves (XCR0) */
	NEED_ZMM,               /* ... and mask registers and ZMM */
	NEED_PKRU,              /* the XSAVE component of PKRU */
	NEED_RUN_DELAY,         /* a host that accounts for the time that threads wait for a processor */
	NEED_CLIENT,            /* not offered, but it counts where the client sets the bit */
	NEED_RUNTIME,           /* follows control registers, in nobody's table */
};

enum x86_feature_vendors { V_INTEL = 1, V_AMD = 2, V_BOTH = 3 };

enum x86_cpuid_reg { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

/*
 * F(NAME, flag, leaf, subleaf, register, bit, need, vendors).  A feature of both
 * vendors whose number begins with a digit keeps it: X86_F_3DNOWPREFETCH.
 */
#define X86_FEATURES(F)                                                                         \
	F(FPU, "fpu", 1, 0, EDX, 0, NOTHING, BOTH)                                              \
	F(VME, "vme", 1, 0, EDX, 1, NOTHING, BOTH)                                              \
	F(DE, "de", 1, 0, EDX, 2, NOTHING, BOTH)                                                \
	F(PSE, "pse", 1, 0, EDX, 3, NOTHING, BOTH)                                              \
	F(TSC, "tsc", 1, 0, EDX, 4, NOTHING, BOTH)                                              \
	F(MSR, "msr", 1, 0, EDX, 5, NOTHING, BOTH)                                              \
	F(PAE, "pae", 1, 0, EDX, 6, NOTHING, BOTH)                                              \
	F(MCE, "mce", 1, 0, EDX, 7, NOTHING, BOTH)                                              \
	F(CX8, "cx8", 1, 0, EDX, 8, NOTHING, BOTH)                                              \
	F(APIC, "apic", 1, 0, EDX, 9, NOTHING, BOTH)                                            \
	F(SEP, "sep", 1, 0, EDX, 11, NOTHING, BOTH)                                             \
	F(MTRR, "mtrr", 1, 0, EDX, 12, NOTHING, BOTH)                                           \
	F(PGE, "pge", 1, 0, EDX, 13, NOTHING, BOTH)                                             \
	F(MCA, "mca", 1, 0, EDX, 14, NOTHING, BOTH)                                             \
	F(CMOV, "cmov", 1, 0, EDX, 15, NOTHING, BOTH)                                           \
	F(PAT, "pat", 1, 0, EDX, 16, NOTHING, BOTH)                                             \
	F(PSE36, "pse36", 1, 0, EDX, 17, NOTHING, BOTH)                                         \
	F(CLFLUSH, "clflush", 1, 0, EDX, 19, NOTHING, BOTH)                                     \
	F(MMX, "mmx", 1, 0, EDX, 23, HOST, BOTH)                                                \
	F(FXSR, "fxsr", 1, 0, EDX, 24, HOST, BOTH)                                              \
	F(SSE, "sse", 1, 0, EDX, 25, HOST, BOTH)                                                \
	F(SSE2, "sse2", 1, 0, EDX, 26, HOST, BOTH)                                              \
	F(SS, "ss", 1, 0, EDX, 27, NOTHING, INTEL)                                              \
	F(HT, "ht", 1, 0, EDX, 28, CLIENT, BOTH)                                                \
	F(PNI, "pni", 1, 0, ECX, 0, HOST, BOTH)                                                 \
	F(PCLMULQDQ, "pclmulqdq", 1, 0, ECX, 1, HOST, BOTH)                                     \
	F(MONITOR, "monitor", 1, 0, ECX, 3, CLIENT, BOTH)                                       \
	F(VMX, "vmx", 1, 0, ECX, 5, NOTHING, INTEL)                                             \
	F(SSSE3, "ssse3", 1, 0, ECX, 9, HOST, BOTH)                                             \
	F(FMA, "fma", 1, 0, ECX, 12, YMM, BOTH)                                                 \
	F(CX16, "cx16", 1, 0, ECX, 13, HOST, BOTH)                                              \
	F(PDCM, "pdcm", 1, 0, ECX, 15, NOTHING, INTEL)                                          \
	F(PCID, "pcid", 1, 0, ECX, 17, NOTHING, BOTH)                                           \
	F(SSE4_1, "sse4_1", 1, 0, ECX, 19, HOST, BOTH)                                          \
	F(SSE4_2, "sse4_2", 1, 0, ECX, 20, HOST, BOTH)                                          \
	F(X2APIC, "x2apic", 1, 0, ECX, 21, NOTHING, BOTH)                                       \
	F(MOVBE, "movbe", 1, 0, ECX, 22, NOTHING, BOTH)                                         \
	F(POPCNT, "popcnt", 1, 0, ECX, 23, HOST, BOTH)                                          \
	F(TSC_DEADLINE_TIMER, "tsc_deadline_timer", 1, 0, ECX, 24, CLIENT, BOTH)                \
	F(AES, "aes", 1, 0, ECX, 25, HOST, BOTH)                                                \
	F(XSAVE, "xsave", 1, 0, ECX, 26, HOST, BOTH)                                            \
	F(OSXSAVE, "osxsave", 1, 0, ECX, 27, RUNTIME, BOTH)                                     \
	F(AVX, "avx", 1, 0, ECX, 28, YMM, BOTH)                                                 \
	F(F16C, "f16c", 1, 0, ECX, 29, YMM, BOTH)                                               \
	F(RDRAND, "rdrand", 1, 0, ECX, 30, HOST, BOTH)                                          \
	F(HYPERVISOR, "hypervisor", 1, 0, ECX, 31, NOTHING, BOTH)                               \
	F(ARAT, "arat", 6, 0, EAX, 2, NOTHING, BOTH)                                            \
	F(FSGSBASE, "fsgsbase", 7, 0, EBX, 0, NOTHING, BOTH)                                    \
	F(TSC_ADJUST, "tsc_adjust", 7, 0, EBX, 1, NOTHING, BOTH)                                \
	F(BMI1, "bmi1", 7, 0, EBX, 3, HOST, BOTH)                                               \
	F(AVX2, "avx2", 7, 0, EBX, 5, YMM, BOTH)                                                \
	F(SMEP, "smep", 7, 0, EBX, 7, NOTHING, BOTH)                                            \
	F(BMI2, "bmi2", 7, 0, EBX, 8, HOST, BOTH)                                               \
	F(ERMS, "erms", 7, 0, EBX, 9, NOTHING, BOTH)                                            \
	F(INVPCID, "invpcid", 7, 0, EBX, 10, NOTHING, BOTH)                                     \
	F(AVX512F, "avx512f", 7, 0, EBX, 16, ZMM, BOTH)                                         \
	F(AVX512DQ, "avx512dq", 7, 0, EBX, 17, ZMM, BOTH)                                       \
	F(RDSEED, "rdseed", 7, 0, EBX, 18, HOST, BOTH)                                          \
	F(ADX, "adx", 7, 0, EBX, 19, HOST, BOTH)                                                \
	F(SMAP, "smap", 7, 0, EBX, 20, NOTHING, BOTH)                                           \
	F(AVX512IFMA, "avx512ifma", 7, 0, EBX, 21, ZMM, BOTH)                                   \
	F(CLFLUSHOPT, "clflushopt", 7, 0, EBX, 23, NOTHING, BOTH)                               \
	F(CLWB, "clwb", 7, 0, EBX, 24, NOTHING, BOTH)                                           \
	F(AVX512CD, "avx512cd", 7, 0, EBX, 28, ZMM, BOTH)                                       \
	F(SHA_NI, "sha_ni", 7, 0, EBX, 29, HOST, BOTH)                                          \
	F(AVX512BW, "avx512bw", 7, 0, EBX, 30, ZMM, BOTH)                                       \
	F(AVX512VL, "avx512vl", 7, 0, EBX, 31, ZMM, BOTH)                                       \
	F(AVX512VBMI, "avx512vbmi", 7, 0, ECX, 1, ZMM, BOTH)                                    \
	F(UMIP, "umip", 7, 0, ECX, 2, NOTHING, BOTH)                                            \
	F(PKU, "pku", 7, 0, ECX, 3, PKRU, BOTH)                                                 \
	F(OSPKE, "ospke", 7, 0, ECX, 4, RUNTIME, BOTH)                                          \
	F(AVX512_VBMI2, "avx512_vbmi2", 7, 0, ECX, 6, ZMM, BOTH)                                \
	F(GFNI, "gfni", 7, 0, ECX, 8, HOST, BOTH)                                               \
	F(VAES, "vaes", 7, 0, ECX, 9, YMM, BOTH)                                                \
	F(VPCLMULQDQ, "vpclmulqdq", 7, 0, ECX, 10, YMM, BOTH)                                   \
	F(AVX512_VNNI, "avx512_vnni", 7, 0, ECX, 11, ZMM, BOTH)                                 \
	F(AVX512_BITALG, "avx512_bitalg", 7, 0, ECX, 12, ZMM, BOTH)                             \
	F(AVX512_VPOPCNTDQ, "avx512_vpopcntdq", 7, 0, ECX, 14, ZMM, BOTH)                       \
	F(LA57, "la57", 7, 0, ECX, 16, NOTHING, BOTH)                                           \
	F(RDPID, "rdpid", 7, 0, ECX, 22, NOTHING, BOTH)                                         \
	F(CLDEMOTE, "cldemote", 7, 0, ECX, 25, NOTHING, INTEL)                                  \
	F(MOVDIRI, "movdiri", 7, 0, ECX, 27, NOTHING, BOTH)                                     \
	F(MOVDIR64B, "movdir64b", 7, 0, ECX, 28, NOTHING, BOTH)                                 \
	F(PKS, "pks", 7, 0, ECX, 31, NOTHING, INTEL)                                            \
	F(FSRM, "fsrm", 7, 0, EDX, 4, NOTHING, BOTH)                                            \
	F(AVX512_VP2INTERSECT, "avx512_vp2intersect", 7, 0, EDX, 8, ZMM, BOTH)                  \
	F(MD_CLEAR, "md_clear", 7, 0, EDX, 10, NOTHING, INTEL)                                  \
	F(SERIALIZE, "serialize", 7, 0, EDX, 14, NOTHING, INTEL)                                \
	F(AVX512_FP16, "avx512_fp16", 7, 0, EDX, 23, ZMM, BOTH)                                 \
	F(SPEC_CTRL, "spec_ctrl", 7, 0, EDX, 26, NOTHING, INTEL)                                \
	F(INTEL_STIBP, "intel_stibp", 7, 0, EDX, 27, NOTHING, INTEL)                            \
	F(ARCH_CAPABILITIES, "arch_capabilities", 7, 0, EDX, 29, NOTHING, INTEL)                \
	F(SPEC_CTRL_SSBD, "spec_ctrl_ssbd", 7, 0, EDX, 31, NOTHING, INTEL)                      \
	F(AVX_VNNI, "avx_vnni", 7, 1, EAX, 4, YMM, BOTH)                                        \
	F(AVX512_BF16, "avx512_bf16", 7, 1, EAX, 5, ZMM, BOTH)                                  \
	F(XSAVEOPT, "xsaveopt", 0xd, 1, EAX, 0, NOTHING, BOTH)                                  \
	F(XSAVEC, "xsavec", 0xd, 1, EAX, 1, NOTHING, BOTH)                                      \
	F(XGETBV1, "xgetbv1", 0xd, 1, EAX, 2, NOTHING, BOTH)                                    \
	F(XSAVES, "xsaves", 0xd, 1, EAX, 3, NOTHING, BOTH)                                      \
	F(LAHF_LM, "lahf_lm", 0x80000001, 0, ECX, 0, NOTHING, BOTH)                             \
	F(CMP_LEGACY, "cmp_legacy", 0x80000001, 0, ECX, 1, NOTHING, AMD)                        \
	F(SVM, "svm", 0x80000001, 0, ECX, 2, NOTHING, AMD)                                      \
	F(CR8_LEGACY, "cr8_legacy", 0x80000001, 0, ECX, 4, NOTHING, AMD)                        \
	F(ABM, "abm", 0x80000001, 0, ECX, 5, HOST, BOTH)                                        \
	F(SSE4A, "sse4a", 0x80000001, 0, ECX, 6, HOST, AMD)                                     \
	F(MISALIGNSSE, "misalignsse", 0x80000001, 0, ECX, 7, NOTHING, AMD)                      \
	F(3DNOWPREFETCH, "3dnowprefetch", 0x80000001, 0, ECX, 8, NOTHING, BOTH)                 \
	F(OSVW, "osvw", 0x80000001, 0, ECX, 9, NOTHING, AMD)                                    \
	F(TOPOEXT, "topoext", 0x80000001, 0, ECX, 22, NOTHING, AMD)                             \
	F(PERFCTR_CORE, "perfctr_core", 0x80000001, 0, ECX, 23, NOTHING, AMD)                   \
	F(SYSCALL, "syscall", 0x80000001, 0, EDX, 11, NOTHING, BOTH)                            \
	F(NX, "nx", 0x80000001, 0, EDX, 20, NOTHING, BOTH)                                      \
	F(MMXEXT, "mmxext", 0x80000001, 0, EDX, 22, HOST, AMD)                                  \
	F(FXSR_OPT, "fxsr_opt", 0x80000001, 0, EDX, 25, NOTHING, AMD)                           \
	F(PDPE1GB, "pdpe1gb", 0x80000001, 0, EDX, 26, NOTHING, BOTH)                            \
	F(RDTSCP, "rdtscp", 0x80000001, 0, EDX, 27, NOTHING, BOTH)                              \
	F(LM, "lm", 0x80000001, 0, EDX, 29, NOTHING, BOTH)                                      \
	F(CONSTANT_TSC, "constant_tsc", 0x80000007, 0, EDX, 8, NOTHING, BOTH)                   \
	F(CLZERO, "clzero", 0x80000008, 0, EBX, 0, NOTHING, AMD)                                \
	F(XSAVEERPTR, "xsaveerptr", 0x80000008, 0, EBX, 2, NOTHING, AMD)                        \
	F(WBNOINVD, "wbnoinvd", 0x80000008, 0, EBX, 9, NOTHING, BOTH)                           \
	F(AMD_IBPB, "ibpb", 0x80000008, 0, EBX, 12, NOTHING, AMD)                               \
	F(AMD_IBRS, "ibrs", 0x80000008, 0, EBX, 14, NOTHING, AMD)                               \
	F(AMD_STIBP, "stibp", 0x80000008, 0, EBX, 15, NOTHING, AMD)                             \
	F(AMD_STIBP_ALWAYS_ON, "stibp_always_on", 0x80000008, 0, EBX, 17, CLIENT, AMD)          \
	F(AMD_SSBD, "amd_ssbd", 0x80000008, 0, EBX, 24, NOTHING, AMD)                           \
	F(VIRT_SSBD, "virt_ssbd", 0x80000008, 0, EBX, 25, CLIENT, AMD)                          \
	F(AMD_SSB_NO, "amd_ssb_no", 0x80000008, 0, EBX, 26, NOTHING, AMD)                       \
	F(BTC_NO, "btc_no", 0x80000008, 0, EBX, 29, NOTHING, AMD)                               \
	F(NPT, "npt", 0x8000000a, 0, EDX, 0, NOTHING, AMD)                                      \
	F(LBRV, "lbrv", 0x8000000a, 0, EDX, 1, NOTHING, AMD)                                    \
	F(NRIPS, "nrips", 0x8000000a, 0, EDX, 3, NOTHING, AMD)                                  \
	F(TSC_SCALE, "tsc_scale", 0x8000000a, 0, EDX, 4, NOTHING, AMD)                          \
	F(VMCB_CLEAN, "vmcb_clean", 0x8000000a, 0, EDX, 5, NOTHING, AMD)                        \
	F(FLUSHBYASID, "flushbyasid", 0x8000000a, 0, EDX, 6, NOTHING, AMD)                      \
	F(DECODEASSISTS, "decodeassists", 0x8000000a, 0, EDX, 7, NOTHING, AMD)                  \
	F(PAUSEFILTER, "pausefilter", 0x8000000a, 0, EDX, 10, NOTHING, AMD)                     \
	F(PFTHRESHOLD, "pfthreshold", 0x8000000a, 0, EDX, 12, NOTHING, AMD)                     \
	F(V_VMSAVE_VMLOAD, "v_vmsave_vmload", 0x8000000a, 0, EDX, 15, NOTHING, AMD)             \
	F(VGIF, "vgif", 0x8000000a, 0, EDX, 16, NOTHING, AMD)                                   \
	F(VNMI, "vnmi", 0x8000000a, 0, EDX, 25, NOTHING, AMD)                                   \
	F(SVME_ADDR_CHK, "svme_addr_chk", 0x8000000a, 0, EDX, 28, NOTHING, AMD)                 \
	F(NO_NESTED_DATA_BP, "no_nested_data_bp", 0x80000021, 0, EAX, 0, NOTHING, AMD)          \
	F(LFENCE_RDTSC, "lfence_rdtsc", 0x80000021, 0, EAX, 2, NOTHING, AMD)                    \
	F(NULL_SEL_CLR_BASE, "null_sel_clr_base", 0x80000021, 0, EAX, 6, NOTHING, AMD)          \
	F(SRSO_NO, "srso_no", 0x80000021, 0, EAX, 29, NOTHING, AMD)                             \
	F(TSA_SQ_NO, "tsa_sq_no", 0x80000021, 0, ECX, 1, NOTHING, AMD)                          \
	F(TSA_L1_NO, "tsa_l1_no", 0x80000021, 0, ECX, 2, NOTHING, AMD)                          \
	F(KVM_CLOCKSOURCE, "kvmclock", 0x40000001, 0, EAX, 0, NOTHING, BOTH)                    \
	F(KVM_NOP_IO_DELAY, "kvm_nopiodelay", 0x40000001, 0, EAX, 1, NOTHING, BOTH)             \
	F(KVM_CLOCKSOURCE2, "kvmclock2", 0x40000001, 0, EAX, 3, NOTHING, BOTH)                  \
	F(KVM_ASYNC_PF, "kvm_asyncpf", 0x40000001, 0, EAX, 4, NOTHING, BOTH)                    \
	F(KVM_STEAL_TIME, "kvm_steal_time", 0x40000001, 0, EAX, 5, RUN_DELAY, BOTH)               \
	F(KVM_PV_EOI, "kvm_pv_eoi", 0x40000001, 0, EAX, 6, NOTHING, BOTH)                       \
	F(KVM_PV_UNHALT, "kvm_pv_unhalt", 0x40000001, 0, EAX, 7, NOTHING, BOTH)                 \
	F(KVM_PV_TLB_FLUSH, "kvm_pv_tlb_flush", 0x40000001, 0, EAX, 9, NOTHING, BOTH)           \
	F(KVM_ASYNC_PF_VMEXIT, "kvm_asyncpf_vmexit", 0x40000001, 0, EAX, 10, NOTHING, BOTH)     \
	F(KVM_PV_SEND_IPI, "kvm_pv_ipi", 0x40000001, 0, EAX, 11, NOTHING, BOTH)                 \
	F(KVM_POLL_CONTROL, "kvm_poll_control", 0x40000001, 0, EAX, 12, NOTHING, BOTH)          \
	F(KVM_PV_SCHED_YIELD, "kvm_pv_sched_yield", 0x40000001, 0, EAX, 13, NOTHING, BOTH)      \
	F(KVM_ASYNC_PF_INT, "kvm_asyncpf_int", 0x40000001, 0, EAX, 14, NOTHING, BOTH)           \
	F(KVM_CLOCKSOURCE_STABLE, "kvmclock_stable", 0x40000001, 0, EAX, 24, NOTHING, BOTH)

enum x86_feature {
	X86_F_NONE,             /* always there */
#define X86_FEATURE_ENUM(name, ...) X86_F_##name,
	X86_FEATURES(X86_FEATURE_ENUM)
#undef X86_FEATURE_ENUM
	X86_F_COUNT,
	/* Names that people expect. */
	X86_F_SSE3 = X86_F_PNI,
	X86_F_LZCNT = X86_F_ABM,
	X86_F_SHA = X86_F_SHA_NI,
};

struct x86_feature_row {
	const char *flag;       /* as in /proc/cpuinfo */
	uint32_t leaf;
	uint8_t subleaf;
	uint8_t reg;            /* enum x86_cpuid_reg */
	uint8_t bit;
	uint8_t need;           /* enum x86_feature_need */
	uint8_t vendors;        /* enum x86_feature_vendors */
};

/* Indexed by enum x86_feature; row 0 is empty. */
extern const struct x86_feature_row x86_feature_rows[X86_F_COUNT];

struct kvm_cpuid_entry2;

#define X86_CPUID_ENTRIES 256   /* as many as KVM takes */

/* What a vCPU was told that it is (KVM_SET_CPUID2), and what follows. */
struct x86_cpuid {
	uint64_t has[(X86_F_COUNT + 63) / 64];
	uint8_t maxphyaddr;     /* bits */
	uint8_t vendor;         /* enum x86_feature_vendors: whose rules the CPU follows */
	uint32_t count;
	struct kvm_cpuid_entry2 *entry;         /* `count` of them; owned */
	uint64_t supported_xcr0, supported_xss; /* what XSETBV and IA32_XSS take */
};

/** x86_cpuid_has - is feature @f offered by @c? */
static ALWAYS_INLINE bool x86_cpuid_has(const struct x86_cpuid *c, unsigned int f)
{
	return !f || (c->has[f / 64] >> (f % 64) & 1);
}

/** x86_has - is feature @f offered to @cpu's guest? */
static ALWAYS_INLINE bool x86_has(const struct x86_cpu *cpu, unsigned int f)
{
	return x86_cpuid_has(cpu->cpuid, f);
}

/** x86_is_intel - does @cpu follow Intel's rules where the vendors differ? */
static ALWAYS_INLINE bool x86_is_intel(const struct x86_cpu *cpu)
{
	return cpu->cpuid->vendor == V_INTEL;
}

#endif
