// SPDX-License-Identifier: MIT
/*
 * Which VMCSs VM entry takes: valid ones, of which one to three fields are bent to their limits, and a table of the
 * rules, which is the manual's text and knows nothing of the library's own (SDM 3C, 26.2 and 26.3).  What is
 * compared: the VM-instruction error, or the exit reason 33 with its qualification, or neither.  Where the manual
 * leaves it open nothing is.
 *
 * RULES_CASES in the environment is how many, RULES_SEED where to begin.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

#include "anykvm.h"
#include "guest.h"
#include "../rnd.h"

#define CASES 20000
#define CODE_EXIT 0x1800        /* L1 after an exit */
#define POINTERS 0x1f00         /* operands of VMXON and VMPTRLD */
#define FIELDS 0x2000           /* pairs for VMWRITE */
#define VMXON_REGION 0x3000
#define VMCS_REGION 0x4000
#define EPT 0x5000              /* four tables */
#define ZEROES 0x9000           /* bitmaps, virtual-APIC page */
#define L2_CODE 0xa000          /* HLT */
#define L2_STACK 0xb800
#define PAE_TABLE 0xb000
#define EXITED 0x10             /* ports of L1 */
#define FAILED 0x12

/* --- fields: a place here, an encoding, a width (SDM 3D, appendix B) ----------------------------------- */

#define ALL_FIELDS(F) \
	F(VPID, 0x0000) F(ES, 0x0800) F(CS, 0x0802) F(SS, 0x0804) F(DS, 0x0806) F(FS, 0x0808) F(GS, 0x080a) \
	F(LDTR, 0x080c) F(TR, 0x080e) F(HOST_ES, 0x0c00) F(HOST_CS, 0x0c02) F(HOST_SS, 0x0c04) F(HOST_DS, 0x0c06) \
	F(HOST_FS, 0x0c08) F(HOST_GS, 0x0c0a) F(HOST_TR, 0x0c0c) F(IO_A, 0x2000) F(IO_B, 0x2002) F(MSR_BITMAP, 0x2004) \
	F(EXIT_STORE, 0x2006) F(EXIT_LOAD, 0x2008) F(ENTRY_LOAD, 0x200a) F(VIRTUAL_APIC, 0x2012) F(APIC_ACCESS, 0x2014) \
	F(EPTP, 0x201a) F(LINK, 0x2800) F(DEBUGCTL, 0x2802) F(PAT, 0x2804) F(EFER, 0x2806) F(HOST_PAT, 0x2c00) \
	F(HOST_EFER, 0x2c02) F(PIN, 0x4000) F(PROC, 0x4002) F(EXCEPTIONS, 0x4004) F(CR3_TARGETS, 0x400a) F(EXITS, 0x400c) \
	F(EXIT_STORES, 0x400e) F(EXIT_LOADS, 0x4010) F(ENTRIES, 0x4012) F(ENTRY_LOADS, 0x4014) F(EVENT, 0x4016) \
	F(EVENT_ERROR, 0x4018) F(EVENT_LENGTH, 0x401a) F(TPR_THRESHOLD, 0x401c) F(PROC2, 0x401e) F(ES_LIMIT, 0x4800) \
	F(CS_LIMIT, 0x4802) F(SS_LIMIT, 0x4804) F(DS_LIMIT, 0x4806) F(FS_LIMIT, 0x4808) F(GS_LIMIT, 0x480a) \
	F(LDTR_LIMIT, 0x480c) F(TR_LIMIT, 0x480e) F(GDTR_LIMIT, 0x4810) F(IDTR_LIMIT, 0x4812) F(ES_ACCESS, 0x4814) \
	F(CS_ACCESS, 0x4816) F(SS_ACCESS, 0x4818) F(DS_ACCESS, 0x481a) F(FS_ACCESS, 0x481c) F(GS_ACCESS, 0x481e) \
	F(LDTR_ACCESS, 0x4820) F(TR_ACCESS, 0x4822) F(BLOCKING, 0x4824) F(ACTIVITY, 0x4826) F(CR0, 0x6800) F(CR3, 0x6802) \
	F(CR4, 0x6804) F(ES_BASE, 0x6806) F(CS_BASE, 0x6808) F(SS_BASE, 0x680a) F(DS_BASE, 0x680c) F(FS_BASE, 0x680e) \
	F(GS_BASE, 0x6810) F(LDTR_BASE, 0x6812) F(TR_BASE, 0x6814) F(GDTR_BASE, 0x6816) F(IDTR_BASE, 0x6818) \
	F(DR7, 0x681a) F(RSP, 0x681c) F(RIP, 0x681e) F(RFLAGS, 0x6820) F(PENDING_DEBUG, 0x6822) F(SYSENTER_ESP, 0x6824) \
	F(SYSENTER_EIP, 0x6826) F(HOST_CR0, 0x6c00) F(HOST_CR3, 0x6c02) F(HOST_CR4, 0x6c04) F(HOST_FS_BASE, 0x6c06) \
	F(HOST_GS_BASE, 0x6c08) F(HOST_TR_BASE, 0x6c0a) F(HOST_GDTR_BASE, 0x6c0c) F(HOST_IDTR_BASE, 0x6c0e) \
	F(HOST_SYSENTER_ESP, 0x6c10) F(HOST_SYSENTER_EIP, 0x6c12) F(HOST_RSP, 0x6c14) F(HOST_RIP, 0x6c16)

#define PLACE(name, encoding) name,
enum { ALL_FIELDS(PLACE) COUNT };

#define ENCODING(name, encoding) encoding,
static const uint16_t encodings[] = { ALL_FIELDS(ENCODING) };

#define NAME(name, encoding) #name,
static const char *const names[] = { ALL_FIELDS(NAME) };

/* Bits 14:13 of an encoding: 16, 64, 32, natural. */
static unsigned int width(unsigned int field)
{
	static const uint8_t widths[] = { 16, 64, 32, 64 };

	return widths[encodings[field] >> 13 & 3];
}

struct vmcs {
	uint64_t f[COUNT];
};

/* What the CPU has: IA32_VMX_*, by number. */
struct machine {
	unsigned int maxphyaddr;
	bool rtm;
	uint64_t cap[0x12];
};

enum { MISC = 5, CR0_FIXED0 = 6, CR0_FIXED1 = 7, CR4_FIXED0 = 8, CR4_FIXED1 = 9, CTLS2 = 0xb, EPT_VPID = 0xc, TRUE_PIN = 0xd,
       TRUE_PROC = 0xe, TRUE_EXIT = 0xf, TRUE_ENTRY = 0x10 };

/* --- predicates on a VMCS ------------------------------------------------------------------------------------ */

#define V(field) (v->f[field])
#define BIT(value, n) ((value) >> (n) & 1)

static bool proc2(const struct vmcs *v, unsigned int bit)
{
	return BIT(V(PROC), 31) && BIT(V(PROC2), bit);
}

static bool ept(const struct vmcs *v) { return proc2(v, 1); }
static bool unrestricted(const struct vmcs *v) { return proc2(v, 7); }
static bool tpr_shadow(const struct vmcs *v) { return BIT(V(PROC), 21); }
static bool virtual_intr(const struct vmcs *v) { return proc2(v, 9); }
static bool ia32e(const struct vmcs *v) { return BIT(V(ENTRIES), 9); }
static bool host64(const struct vmcs *v) { return BIT(V(EXITS), 9); }
static bool vm86(const struct vmcs *v) { return BIT(V(RFLAGS), 17); }
static bool pe(const struct vmcs *v) { return V(CR0) & 1; }
static bool pg(const struct vmcs *v) { return BIT(V(CR0), 31); }
static bool injects(const struct vmcs *v) { return BIT(V(EVENT), 31); }
static unsigned int type(const struct vmcs *v) { return V(EVENT) >> 8 & 7; }
static unsigned int vector(const struct vmcs *v) { return V(EVENT) & 0xff; }

static bool canonical(uint64_t a)
{
	return (uint64_t)((int64_t)(a << 16) >> 16) == a;
}

static bool beyond(const struct machine *m, uint64_t a)
{
	return a >> m->maxphyaddr;
}

static bool no_page(const struct machine *m, uint64_t a)
{
	return (a & 0xfff) || beyond(m, a);
}

static bool against(uint64_t cap, uint64_t controls)
{
	return ((uint32_t)cap & ~controls) || (controls & ~(cap >> 32));
}

static bool bad_pat(uint64_t pat)
{
	for (unsigned int n = 0; n < 64; n += 8)
		if ((pat >> n & 0xff) > 7 || (pat >> n & 0xff) == 2 || (pat >> n & 0xff) == 3)
			return true;
	return false;
}

static bool bad_area(const struct machine *m, uint64_t count, uint64_t address)
{
	return count && ((address & 15) || beyond(m, address) || beyond(m, address + count * 16 - 1));
}

/* --- the rules -------------------------------------------------------------------------------------- */

/* What breaking one leads to: an error, or reason 33 with a qualification. */
enum class { CONTROL, HOST, GUEST, GUEST_LINK, CLASSES };

struct rule {
	const char *name;
	enum class class;
	bool (*broken)(const struct machine *m, const struct vmcs *v);
};

#define RULE(fn, condition) \
	static bool fn(const struct machine *m, const struct vmcs *v) { return condition; }

/* 26.2.1.1 */
RULE(pin_caps, against(m->cap[TRUE_PIN], V(PIN)))
RULE(proc_caps, against(m->cap[TRUE_PROC], V(PROC)))
RULE(proc2_caps, BIT(V(PROC), 31) && against(m->cap[CTLS2], V(PROC2)))
RULE(cr3_targets, V(CR3_TARGETS) > (m->cap[MISC] >> 16 & 0x1ff))
RULE(io_bitmaps, BIT(V(PROC), 25) && (no_page(m, V(IO_A)) || no_page(m, V(IO_B))))
RULE(msr_bitmap, BIT(V(PROC), 28) && no_page(m, V(MSR_BITMAP)))
RULE(virtual_apic, tpr_shadow(v) && no_page(m, V(VIRTUAL_APIC)))
RULE(threshold_bits, tpr_shadow(v) && !virtual_intr(v) && V(TPR_THRESHOLD) >> 4)
RULE(nmi, BIT(V(PIN), 5) && !BIT(V(PIN), 3))
RULE(nmi_window, BIT(V(PROC), 22) && !BIT(V(PIN), 5))
RULE(apic_access, proc2(v, 0) && no_page(m, V(APIC_ACCESS)))
RULE(without_tpr_shadow, !tpr_shadow(v) && (proc2(v, 4) || proc2(v, 8) || proc2(v, 9)))
RULE(x2apic, proc2(v, 4) && proc2(v, 0))
RULE(intr_delivery, virtual_intr(v) && !BIT(V(PIN), 0))
RULE(vpid, proc2(v, 5) && !V(VPID))
RULE(without_ept, !ept(v) && (unrestricted(v) || proc2(v, 17) || proc2(v, 22)))

static bool eptp(const struct machine *m, const struct vmcs *v)
{
	uint64_t e = V(EPTP), cap = m->cap[EPT_VPID];
	unsigned int memory = e & 7, levels = (e >> 3 & 7) + 1;

	if (!ept(v))
		return false;
	if (!((memory == 0 && BIT(cap, 8)) || (memory == 6 && BIT(cap, 14))))
		return true;
	if (!((levels == 4 && BIT(cap, 6)) || (levels == 5 && BIT(cap, 7))))
		return true;
	return (BIT(e, 6) && !BIT(cap, 21)) || (e & 0xf80) || beyond(m, e);
}

/* 26.2.1.2, 26.2.1.3 */
RULE(exit_caps, against(m->cap[TRUE_EXIT], V(EXITS)))
RULE(timer, BIT(V(EXITS), 22) && !BIT(V(PIN), 6))
RULE(exit_store, bad_area(m, V(EXIT_STORES), V(EXIT_STORE)))
RULE(exit_load, bad_area(m, V(EXIT_LOADS), V(EXIT_LOAD)))
RULE(entry_caps, against(m->cap[TRUE_ENTRY], V(ENTRIES)))
RULE(entry_load, bad_area(m, V(ENTRY_LOADS), V(ENTRY_LOAD)))
RULE(smm, V(ENTRIES) & 0xc00)
RULE(event_type, injects(v) && (type(v) == 1 || (type(v) == 7 && !(m->cap[TRUE_PROC] >> 32 & 1u << 27))))
RULE(event_vector, injects(v) && ((type(v) == 2 && vector(v) != 2) || (type(v) == 3 && vector(v) > 31) ||
				  (type(v) == 7 && vector(v))))
RULE(event_reserved, injects(v) && (V(EVENT) & 0x7ffff000))
RULE(event_error, injects(v) && BIT(V(EVENT), 11) && V(EVENT_ERROR) >> 16)
RULE(event_length, injects(v) && (type(v) >= 4 && type(v) <= 6) &&
		   (V(EVENT_LENGTH) > 15 || (!V(EVENT_LENGTH) && !BIT(m->cap[MISC], 30))))

static bool event_code(const struct machine *m, const struct vmcs *v)
{
	const uint32_t with = 1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 17;
	bool has = type(v) == 3 && vector(v) < 32 && (with >> vector(v) & 1) && (pe(v) || !unrestricted(v));

	/* Bit 56 of IA32_VMX_BASIC: either is allowed, of exceptions. */
	if (!injects(v) || (BIT(m->cap[0], 56) && type(v) == 3 && pe(v)))
		return false;
	return BIT(V(EVENT), 11) != has;
}

/* 26.2.2 to 26.2.4 */
RULE(host_cr0, (m->cap[CR0_FIXED0] & ~V(HOST_CR0)) || (V(HOST_CR0) & ~m->cap[CR0_FIXED1]))
RULE(host_cr4, (m->cap[CR4_FIXED0] & ~V(HOST_CR4)) || (V(HOST_CR4) & ~m->cap[CR4_FIXED1]))
RULE(host_cr3, beyond(m, V(HOST_CR3)))
RULE(host_sysenter, !canonical(V(HOST_SYSENTER_ESP)) || !canonical(V(HOST_SYSENTER_EIP)))
RULE(host_pat, BIT(V(EXITS), 19) && bad_pat(V(HOST_PAT)))
RULE(host_efer, BIT(V(EXITS), 21) && ((V(HOST_EFER) & ~0xd01ULL) || BIT(V(HOST_EFER), 8) != host64(v) ||
				      BIT(V(HOST_EFER), 10) != host64(v)))
RULE(host_selectors, (V(HOST_ES) | V(HOST_CS) | V(HOST_SS) | V(HOST_DS) | V(HOST_FS) | V(HOST_GS) | V(HOST_TR)) & 7)
RULE(host_null, !V(HOST_CS) || !V(HOST_TR) || (!host64(v) && !V(HOST_SS)))
RULE(host_bases, !canonical(V(HOST_FS_BASE)) || !canonical(V(HOST_GS_BASE)) || !canonical(V(HOST_TR_BASE)) ||
		 !canonical(V(HOST_GDTR_BASE)) || !canonical(V(HOST_IDTR_BASE)))
RULE(host_size, !host64(v))             /* L1 is in IA-32e mode */
RULE(host_pae, host64(v) && (!BIT(V(HOST_CR4), 5) || !canonical(V(HOST_RIP))))

/* 26.3.1.1 */
static bool cr0(const struct machine *m, const struct vmcs *v)
{
	uint64_t must = m->cap[CR0_FIXED0] & ~(unrestricted(v) ? 0x80000001ULL : 0);

	return (must & ~V(CR0)) || (V(CR0) & ~m->cap[CR0_FIXED1]) || (pg(v) && !pe(v));
}

RULE(cr4, (m->cap[CR4_FIXED0] & ~V(CR4)) || (V(CR4) & ~m->cap[CR4_FIXED1]))
RULE(long_mode, ia32e(v) && (!pg(v) || !BIT(V(CR4), 5)))
RULE(pcide, !ia32e(v) && BIT(V(CR4), 17))
RULE(cr3, beyond(m, V(CR3)))
RULE(debugctl, BIT(V(ENTRIES), 2) && (V(DEBUGCTL) & ~0xffc7ULL))
RULE(dr7, BIT(V(ENTRIES), 2) && V(DR7) >> 32)
RULE(sysenter, !canonical(V(SYSENTER_ESP)) || !canonical(V(SYSENTER_EIP)))
RULE(pat, BIT(V(ENTRIES), 14) && bad_pat(V(PAT)))
RULE(efer, BIT(V(ENTRIES), 15) && ((V(EFER) & ~0xd01ULL) || BIT(V(EFER), 10) != ia32e(v) ||
				   (pg(v) && BIT(V(EFER), 8) != BIT(V(EFER), 10))))

/* 26.3.1.2 */
enum { ACCESS_L = 13, ACCESS_DB = 14, ACCESS_G = 15, ACCESS_UNUSABLE = 16 };

static uint64_t rights(const struct vmcs *v, unsigned int n) { return V(ES_ACCESS + n); }
static bool usable(const struct vmcs *v, unsigned int n) { return !BIT(rights(v, n), ACCESS_UNUSABLE); }
static unsigned int dpl(const struct vmcs *v, unsigned int n) { return rights(v, n) >> 5 & 3; }
static unsigned int kind(const struct vmcs *v, unsigned int n) { return rights(v, n) & 15; }

enum { N_ES, N_CS, N_SS, N_DS, N_FS, N_GS, N_LDTR, N_TR };

RULE(tr_selector, BIT(V(TR), 2))
RULE(ldtr_selector, usable(v, N_LDTR) && BIT(V(LDTR), 2))
RULE(ss_rpl, !vm86(v) && !unrestricted(v) && (V(SS) & 3) != (V(CS) & 3))
RULE(bases, !canonical(V(TR_BASE)) || !canonical(V(FS_BASE)) || !canonical(V(GS_BASE)) ||
	    (usable(v, N_LDTR) && !canonical(V(LDTR_BASE))))
RULE(low_bases, V(CS_BASE) >> 32 || (usable(v, N_SS) && V(SS_BASE) >> 32) || (usable(v, N_DS) && V(DS_BASE) >> 32) ||
		(usable(v, N_ES) && V(ES_BASE) >> 32))

static bool vm86_segments(const struct machine *m, const struct vmcs *v)
{
	for (unsigned int n = N_ES; vm86(v) && n <= N_GS; n++)
		if (V(ES_BASE + n) != V(ES + n) << 4 || V(ES_LIMIT + n) != 0xffff || rights(v, n) != 0xf3)
			return true;
	return false;
}

/* Present, nothing reserved, and a granularity that the limit allows. */
static bool common(const struct vmcs *v, unsigned int n, bool s)
{
	uint64_t a = rights(v, n), limit = V(ES_LIMIT + n);

	return BIT(a, 4) != s || !BIT(a, 7) || (a & 0xf00) || a >> 17 || ((limit & 0xfff) != 0xfff && BIT(a, ACCESS_G)) ||
	       (limit >> 20 && !BIT(a, ACCESS_G));
}

static bool cs(const struct machine *m, const struct vmcs *v)
{
	unsigned int t = kind(v, N_CS);

	if (vm86(v))
		return false;
	if (!(t == 9 || t == 11 || t == 13 || t == 15 || (t == 3 && unrestricted(v))) || common(v, N_CS, true))
		return true;
	if (t == 3 ? dpl(v, N_CS) != 0 : t < 13 ? dpl(v, N_CS) != dpl(v, N_SS) : dpl(v, N_CS) > dpl(v, N_SS))
		return true;
	return ia32e(v) && BIT(rights(v, N_CS), ACCESS_L) && BIT(rights(v, N_CS), ACCESS_DB);
}

/* Its DPL counts where it is unusable, too. */
static bool ss(const struct machine *m, const struct vmcs *v)
{
	if (vm86(v))
		return false;
	if (!unrestricted(v) && dpl(v, N_SS) != (V(SS) & 3))
		return true;
	if ((kind(v, N_CS) == 3 || !pe(v)) && dpl(v, N_SS))
		return true;
	return usable(v, N_SS) && ((kind(v, N_SS) != 3 && kind(v, N_SS) != 7) || common(v, N_SS, true));
}

static bool data(const struct machine *m, const struct vmcs *v)
{
	static const uint8_t all[] = { N_ES, N_DS, N_FS, N_GS };

	for (unsigned int k = 0; !vm86(v) && k < 4; k++) {
		unsigned int n = all[k], t = kind(v, n);

		if (!usable(v, n))
			continue;
		if (!(t & 1) || ((t & 8) && !(t & 2)) || common(v, n, true))
			return true;
		if (!unrestricted(v) && t <= 11 && dpl(v, n) < (V(ES + n) & 3))
			return true;
	}
	return false;
}

RULE(tr, !usable(v, N_TR) || !(kind(v, N_TR) == 11 || (kind(v, N_TR) == 3 && !ia32e(v))) || common(v, N_TR, false))
RULE(ldtr, usable(v, N_LDTR) && (kind(v, N_LDTR) != 2 || common(v, N_LDTR, false)))

/* 26.3.1.3, 26.3.1.4 */
RULE(tables, !canonical(V(GDTR_BASE)) || !canonical(V(IDTR_BASE)) || V(GDTR_LIMIT) >> 16 || V(IDTR_LIMIT) >> 16)
RULE(rip, ia32e(v) && BIT(rights(v, N_CS), ACCESS_L) ? !canonical(V(RIP)) : V(RIP) >> 32 != 0)
RULE(rflags, (V(RFLAGS) & ~0x3f7fd7ULL) || !BIT(V(RFLAGS), 1) || (vm86(v) && (ia32e(v) || !pe(v))))
RULE(rflags_if, injects(v) && type(v) == 0 && !BIT(V(RFLAGS), 9))

/* 26.3.1.5 */
enum { STI = 1, MOV_SS = 2, SMI = 4, NMI = 8 };

RULE(activity, V(ACTIVITY) > 3 || (V(ACTIVITY) && !BIT(m->cap[MISC], 5 + V(ACTIVITY))))
RULE(hlt_dpl, V(ACTIVITY) == 1 && dpl(v, N_SS))
RULE(not_active, V(ACTIVITY) && (V(BLOCKING) & (STI | MOV_SS)))
RULE(hlt_event, V(ACTIVITY) == 1 && injects(v) &&
		!(type(v) == 0 || type(v) == 2 || (type(v) == 3 && (vector(v) == 1 || vector(v) == 18)) || type(v) == 7))
RULE(shutdown_event, V(ACTIVITY) == 2 && injects(v) && !(type(v) == 2 || (type(v) == 3 && vector(v) == 18)))
RULE(sipi_event, V(ACTIVITY) == 3 && injects(v))
RULE(blocking_reserved, V(BLOCKING) >> 5 || BIT(V(BLOCKING), 4))
RULE(blocking_both, (V(BLOCKING) & 3) == 3)
RULE(blocking_sti, (V(BLOCKING) & STI) && !BIT(V(RFLAGS), 9))
RULE(blocking_intr, injects(v) && type(v) == 0 && (V(BLOCKING) & (STI | MOV_SS)))
RULE(blocking_smi, V(BLOCKING) & SMI)
RULE(blocking_mov_ss, injects(v) && type(v) == 2 && (V(BLOCKING) & MOV_SS))
RULE(blocking_nmi, injects(v) && type(v) == 2 && BIT(V(PIN), 5) && (V(BLOCKING) & NMI))
RULE(debug_reserved, V(PENDING_DEBUG) & ~0x1500fULL)

static bool debug_step(const struct machine *m, const struct vmcs *v)
{
	bool btf = BIT(V(DEBUGCTL), 1), tf = BIT(V(RFLAGS), 8);

	return ((V(BLOCKING) & (STI | MOV_SS)) || V(ACTIVITY) == 1) && BIT(V(PENDING_DEBUG), 14) != (tf && !btf);
}

RULE(debug_rtm, BIT(V(PENDING_DEBUG), 16) && (!m->rtm || (V(PENDING_DEBUG) & 0xefff) || !BIT(V(PENDING_DEBUG), 12) ||
					      (V(BLOCKING) & MOV_SS)))

RULE(linked, V(LINK) != ~0ULL && no_page(m, V(LINK)))

static const struct rule rules[] = {
#define R(class, fn) { #fn, class, fn }
	R(CONTROL, pin_caps), R(CONTROL, proc_caps), R(CONTROL, proc2_caps), R(CONTROL, cr3_targets), R(CONTROL, io_bitmaps),
	R(CONTROL, msr_bitmap), R(CONTROL, virtual_apic), R(CONTROL, threshold_bits), R(CONTROL, nmi),
	R(CONTROL, nmi_window), R(CONTROL, apic_access), R(CONTROL, without_tpr_shadow), R(CONTROL, x2apic),
	R(CONTROL, intr_delivery), R(CONTROL, vpid), R(CONTROL, without_ept), R(CONTROL, eptp), R(CONTROL, exit_caps),
	R(CONTROL, timer), R(CONTROL, exit_store), R(CONTROL, exit_load), R(CONTROL, entry_caps), R(CONTROL, entry_load),
	R(CONTROL, smm), R(CONTROL, event_type), R(CONTROL, event_vector), R(CONTROL, event_reserved),
	R(CONTROL, event_error), R(CONTROL, event_length), R(CONTROL, event_code),
	R(HOST, host_cr0), R(HOST, host_cr4), R(HOST, host_cr3), R(HOST, host_sysenter), R(HOST, host_pat),
	R(HOST, host_efer), R(HOST, host_selectors), R(HOST, host_null), R(HOST, host_bases), R(HOST, host_size),
	R(HOST, host_pae),
	R(GUEST, cr0), R(GUEST, cr4), R(GUEST, long_mode), R(GUEST, pcide), R(GUEST, cr3), R(GUEST, debugctl), R(GUEST, dr7),
	R(GUEST, sysenter), R(GUEST, pat), R(GUEST, efer), R(GUEST, tr_selector), R(GUEST, ldtr_selector), R(GUEST, ss_rpl),
	R(GUEST, bases), R(GUEST, low_bases), R(GUEST, vm86_segments), R(GUEST, cs), R(GUEST, ss), R(GUEST, data),
	R(GUEST, tr), R(GUEST, ldtr), R(GUEST, tables), R(GUEST, rip), R(GUEST, rflags), R(GUEST, rflags_if),
	R(GUEST, activity), R(GUEST, hlt_dpl), R(GUEST, not_active), R(GUEST, hlt_event), R(GUEST, shutdown_event),
	R(GUEST, sipi_event), R(GUEST, blocking_reserved), R(GUEST, blocking_both), R(GUEST, blocking_sti),
	R(GUEST, blocking_intr), R(GUEST, blocking_smi), R(GUEST, blocking_mov_ss), R(GUEST, debug_reserved),
	R(GUEST, debug_step), R(GUEST, debug_rtm), R(GUEST, blocking_nmi), R(GUEST_LINK, linked),
#undef R
};

#define RULES (sizeof(rules) / sizeof(rules[0]))

/* Where the manual leaves it open, or what decides lies in memory. */
static bool open_question(const struct machine *m, const struct vmcs *v)
{
	/* 26.3.1.6: PDPTEs, at CR3 or in fields that are not written here. */
	if (pg(v) && BIT(V(CR4), 5) && !ia32e(v) && V(CR3) != PAE_TABLE)
		return true;
	/* The threshold is compared with the page that the address names, if there is one. */
	if (tpr_shadow(v) && !virtual_intr(v) && ((V(TPR_THRESHOLD) & 15) || V(VIRTUAL_APIC) != ZEROES) && !virtual_apic(m, v) &&
	    !threshold_bits(m, v))
		return true;
	/* A page of the APIC's that there is not is KVM's own failure. */
	if (proc2(v, 0) && V(APIC_ACCESS) != ZEROES && !apic_access(m, v))
		return true;
	/* A VMCS that is linked has a revision. */
	if (V(LINK) != ~0ULL && !no_page(m, V(LINK)))
		return true;
	/* Which bits of it are reserved the processor's model says. */
	if (BIT(V(ENTRIES), 2) && (V(DEBUGCTL) & 0xffc4))
		return true;
	/* Lists of MSRs; bit 15 of an error code came to be one of it; STI and an NMI; where bits of EFER are not offered. */
	if ((V(EXIT_STORES) || V(EXIT_LOADS) || V(ENTRY_LOADS)) && !exit_store(m, v) && !exit_load(m, v) && !entry_load(m, v))
		return true;
	if (BIT(V(EVENT_ERROR), 15))
		return true;
	if (injects(v) && type(v) == 2 && (V(BLOCKING) & STI))
		return true;
	/* Controls of which more fields depend than are written here. */
	return (V(PIN) & 0x80) || proc2(v, 13) || proc2(v, 14) || proc2(v, 15) || proc2(v, 17) || proc2(v, 18) ||
	       proc2(v, 25) || virtual_intr(v) || (V(BLOCKING) & 16);
}

/* --- what came of it --------------------------------------------------------------------------------- */

struct outcome {
	bool failed;            /* VMfail: `error` */
	bool lost;              /* L1 has shut down */
	uint64_t error, reason, qualification;
};

static bool entered(const struct outcome *o)
{
	return !o->failed && !(o->reason >> 31);
}

static bool is(const struct outcome *o, enum class class)
{
	static const uint8_t qualifications[] = { [GUEST] = 0, [GUEST_LINK] = 4 };

	if (class <= HOST)
		return o->failed && o->error == (class == CONTROL ? 7 : 8);
	return !o->failed && o->reason == 0x80000021 && o->qualification == qualifications[class];
}

/* Within a stage the order is the processor's. */
static bool agrees(const struct outcome *o, const bool broken[CLASSES])
{
	unsigned int first = broken[CONTROL] || broken[HOST] ? 0 : GUEST, last = first ? CLASSES : GUEST;
	bool any = false;

	for (unsigned int c = first; c < last; c++) {
		any |= broken[c];
		if (broken[c] && is(o, c))
			return true;
	}
	return !any && entered(o);
}

/* --- VMCSs ---------------------------------------------------------------------------------------------- */

static uint64_t state;

static uint64_t rnd(void)
{
	return splitmix64(&state);
}

static uint64_t below(uint64_t n)
{
	return rnd() % n;
}

/* What must be set, and of the rest what is wanted and may be. */
static uint64_t controls(uint64_t cap, uint64_t wanted)
{
	return ((uint32_t)cap | wanted) & cap >> 32;
}

static void fill_controls(const struct machine *m, struct vmcs *v, bool wide)
{
	bool second = below(4);

	V(PIN) = controls(m->cap[TRUE_PIN], below(2) ? 0x28 : 0);
	V(PROC) = controls(m->cap[TRUE_PROC], 1u << 7 | 1u << 24 | (second ? 1u << 31 : 0) | (below(2) ? 1u << 28 : 0) |
						 (below(2) ? 1u << 21 : 0) | (below(2) ? 1u << 25 : 0));
	if (second)     /* EPT, unrestricted guest; VPID; virtualized APIC accesses */
		V(PROC2) = controls(m->cap[CTLS2], (below(2) ? 1u << 1 | (below(2) ? 1u << 7 : 0) : 0) |
						   (below(2) ? 1u << 5 : 0) | (below(2) ? 1 : 0));
	V(EXITS) = controls(m->cap[TRUE_EXIT], 1u << 9 | (below(2) ? 1u << 19 | 1u << 21 : 0));
	V(ENTRIES) = controls(m->cap[TRUE_ENTRY], (wide ? 1u << 9 : 0) | (below(2) ? 1u << 14 | 1u << 15 | 1u << 2 : 0));
	V(EXCEPTIONS) = 0xffffffff;
	V(VPID) = 1;
	V(IO_A) = V(IO_B) = V(MSR_BITMAP) = V(VIRTUAL_APIC) = V(APIC_ACCESS) = ZEROES;
	V(EPTP) = EPT | 0x1e;
	V(LINK) = ~0ULL;
}

static void fill_host(struct vmcs *v, const struct kvm_sregs *s)
{
	V(HOST_CR0) = s->cr0;
	V(HOST_CR3) = s->cr3;
	V(HOST_CR4) = s->cr4;
	V(HOST_EFER) = 0x500;
	V(HOST_PAT) = V(PAT) = 0x0007040600070406;
	V(HOST_CS) = 8;
	V(HOST_ES) = V(HOST_SS) = V(HOST_DS) = V(HOST_FS) = V(HOST_GS) = 16;
	V(HOST_TR) = 24;
	V(HOST_RSP) = L2_STACK;
	V(HOST_RIP) = CODE_EXIT;
}

/* One that is taken. */
static void fill(const struct machine *m, struct vmcs *v, const struct kvm_sregs *s)
{
	bool wide = below(3);

	memset(v, 0, sizeof(*v));
	fill_controls(m, v, wide);
	fill_host(v, s);
	V(CR0) = s->cr0;
	V(CR3) = wide ? s->cr3 : PAE_TABLE;
	V(CR4) = s->cr4;
	V(EFER) = wide ? 0x500 : 0;
	for (unsigned int n = N_ES; n <= N_TR; n++) {
		V(ES + n) = n == N_CS ? 8 : n == N_TR ? 24 : n == N_LDTR ? 0 : 16;
		V(ES_LIMIT + n) = n == N_TR ? 0x67 : 0xffffffff;
		V(ES_ACCESS + n) = n == N_CS ? (wide ? 0xa09b : 0xc09b) : n == N_TR ? 0x8b : n == N_LDTR ? 0x10000 : 0xc093;
	}
	V(DR7) = 0x400;
	V(RFLAGS) = 2;
	V(RIP) = L2_CODE;
	V(RSP) = L2_STACK;
	/* Without EPT they are read where CR3 says, with it from fields that are zero. */
}

static uint64_t field_mask(unsigned int n)
{
	return width(n) == 64 ? ~0ULL : (1ULL << width(n)) - 1;
}

static uint64_t limit(const struct machine *m, uint64_t old, unsigned int n)
{
	const uint64_t end = 1ULL << m->maxphyaddr;
	const uint64_t limits[] = {
		0, ~0ULL, 0xffffffff, 0x100000000, 0x7fffffffffff, 0x800000000000, 0x8000000000000000, end, end - 1,
		end - 0x1000, 1, 2, 3, 4, 0xfff, 0x1000,
	};

	return below(3) ? old ^ 1ULL << below(width(n)) : limits[below(sizeof(limits) / sizeof(limits[0]))];
}

/* What only matters together with another. */
static void companions(struct vmcs *v, unsigned int n)
{
	if ((n == ACTIVITY || n == BLOCKING) && below(2)) {
		V(ACTIVITY) = n == ACTIVITY ? 1 + below(3) : 0;
		V(BLOCKING) = n == BLOCKING ? below(16) : 0;
		V(EVENT) = below(2) ? 0 : below(2) ? 0x80000202 : 0x80000000 | (rnd() & 0xfff);
		V(SS_ACCESS) |= below(3) ? 0 : 0x60;
		V(RFLAGS) ^= rnd() & 0x300;
	}
	if (n == LDTR || n == LDTR_ACCESS) {
		V(LDTR_ACCESS) = below(2) ? 0x82 : V(LDTR_ACCESS);
		V(LDTR_LIMIT) = 0xffff;
	}
}

/* Where L1 goes on is not to be bent but by what is refused. */
static unsigned int bend(const struct machine *m, struct vmcs *v)
{
	/* Those of which many values mean something come more often. */
	static const uint8_t often[] = { EVENT, EVENT, EVENT, BLOCKING, ACTIVITY, CS_ACCESS, SS_ACCESS, TR_ACCESS, RFLAGS, PROC2,
					 PROC, PIN, EPTP, PENDING_DEBUG };
	unsigned int n = below(3) ? (unsigned int)below(COUNT) : often[below(sizeof(often))];

	V(n) = limit(m, V(n), n) & field_mask(n);
	/* KVM's VMWRITE drops the bits of these that are reserved, as some processors do. */
	if (n >= ES_ACCESS && n <= TR_ACCESS)
		V(n) &= 0x1f0ff;
	companions(v, n);
	if ((n == EXIT_STORES || n == EXIT_LOADS || n == ENTRY_LOADS) && V(n))
		V(n == EXIT_STORES ? EXIT_STORE : n == EXIT_LOADS ? EXIT_LOAD : ENTRY_LOAD) = limit(m, ZEROES, EXIT_STORE);
	if (n == EVENT_ERROR)
		V(EVENT) = 0x80000b0d;
	if (n == EVENT && below(4))
		V(n) = 0x80000000 | (rnd() & 0xfff);
	if (n == EVENT && below(2))
		V(EVENT_LENGTH) = 1;
	return n;
}

/* Values that a processor takes, and that then lead L1 elsewhere: its own mistake. */
static bool leads_astray(const struct vmcs *v, const struct kvm_sregs *s)
{
	return V(HOST_CR3) != s->cr3 || V(HOST_RIP) != CODE_EXIT || V(HOST_RSP) != L2_STACK || V(HOST_CR0) != s->cr0 ||
	       V(HOST_CR4) != s->cr4 || V(EXIT_LOADS) || V(EXIT_STORES) || V(ENTRY_LOADS) ||
	       (BIT(V(EXITS), 21) && V(HOST_EFER) != 0x500);
}

/* --- the test ------------------------------------------------------------------------------------------------ */

static const uint8_t code_start[] = {
	0xf3, 0x0f, 0xc7, 0x34, 0x25, 0x00, 0x1f, 0, 0,         /* vmxon [0x1f00] */
	0x66, 0x0f, 0xc7, 0x34, 0x25, 0x08, 0x1f, 0, 0,         /* vmclear [0x1f08] */
	0x0f, 0xc7, 0x34, 0x25, 0x08, 0x1f, 0, 0,               /* vmptrld [0x1f08] */
	0xbe, 0x00, 0x20, 0, 0,                                 /* mov esi,0x2000 */
	0x48, 0xad, 0x48, 0x89, 0xc2, 0x48, 0xad,               /* 1: lodsq; mov rdx,rax; lodsq */
	0x48, 0x83, 0xfa, 0xff, 0x74, 0x05,                     /* cmp rdx,-1; je 2f */
	0x0f, 0x79, 0xd0, 0xeb, 0xee,                           /* vmwrite rdx,rax; jmp 1b */
	0x0f, 0x01, 0xc2,                                       /* 2: vmlaunch */
	0xb8, 0x00, 0x44, 0, 0, 0x0f, 0x78, 0xc3, 0xe6, FAILED, /* vmread rbx,0x4400; out */
};

/* RBX: reason, RCX: qualification. */
static const uint8_t code_exit[] = {
	0xb8, 0x02, 0x44, 0, 0, 0x0f, 0x78, 0xc3, 0xb8, 0x00, 0x64, 0, 0, 0x0f, 0x78, 0xc1, 0xe6, EXITED,
};

static void put_memory(struct guest *g, const struct machine *m)
{
	uint64_t *tables = (uint64_t *)(g->mem + GUEST_TABLES), *e = (uint64_t *)(g->mem + EPT);

	memset(g->mem + L2_CODE, 0xf4, PAGE);
	memset(g->mem + ZEROES, 0, PAGE);
	memset(g->mem + PAE_TABLE, 0, PAGE);
	memcpy(g->mem + GUEST_CODE, code_start, sizeof(code_start));
	memcpy(g->mem + CODE_EXIT, code_exit, sizeof(code_exit));
	((uint64_t *)(g->mem + POINTERS))[0] = VMXON_REGION;
	((uint64_t *)(g->mem + POINTERS))[1] = VMCS_REGION;
	*(uint32_t *)(g->mem + VMXON_REGION) = *(uint32_t *)(g->mem + VMCS_REGION) = (uint32_t)m->cap[0] & 0x7fffffff;
	*(uint64_t *)(g->mem + PAE_TABLE) = (GUEST_TABLES + 0x2000) | 1;
	tables[0] = (GUEST_TABLES + 0x1000) | 7;
	tables[512] = (GUEST_TABLES + 0x2000) | 7;
	tables[1024] = 0x87;
	e[0] = (EPT + 0x1000) | 7;
	e[512] = (EPT + 0x2000) | 7;
	e[1024] = 0xb7;
}

static struct guest hypervisor(struct machine *m)
{
	struct guest g = guest_of(code_start, sizeof(code_start), false);
	struct cpuid_table *t = guest_supported();
	struct kvm_sregs s;

	/* Addresses of 48 bits. */
	guest_leaf(t, 7, 0)->ecx &= ~(1u << 16);
	m->rtm = guest_leaf(t, 7, 0)->ebx >> 11 & 1;
	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	m->maxphyaddr = guest_leaf(t, 0x80000008, 0)->eax & 0xff;
	free(t);
	guest_long(&g);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.cr0 |= 0x20;
	s.cr4 |= 0x2000;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	assert_int_equal(guest_set_msr(&g, 0x3a, 5), 1);
	for (unsigned int n = 0; n < 0x12; n++)
		assert_int_equal(guest_get_msr(&g, 0x480 + n, &m->cap[n]), 1);
	return g;
}

static void write_fields(struct guest *g, const struct vmcs *v)
{
	uint64_t *at = (uint64_t *)(g->mem + FIELDS);

	for (unsigned int n = 0; n < COUNT; n++) {
		*at++ = encodings[n];
		*at++ = V(n);
	}
	*at = ~0ULL;
}

/* L2's events may have gone over what L1 needs for itself. */
static bool memory_whole(const struct guest *g)
{
	const uint64_t *tables = (const uint64_t *)(g->mem + GUEST_TABLES);

	return !memcmp(g->mem + CODE_EXIT, code_exit, sizeof(code_exit)) && (tables[0] & tables[512] & tables[1024] & 7) == 7 &&
	       (tables[0] & ~0xfffULL) == GUEST_TABLES + 0x1000 && (tables[512] & ~0xfffULL) == GUEST_TABLES + 0x2000;
}

/* false: L2 has got somewhere that only the client knows of, or waits: it was entered. */
static bool enter(struct guest *g, struct outcome *o)
{
	struct kvm_regs r = { .rip = GUEST_CODE, .rflags = 2, .rsp = L2_STACK };

	api_ok(api_ioctl(g->vcpu, KVM_SET_REGS, &r));
	g->run->immediate_exit = 0;
	/* Who does not come back within seconds is in L2, and happy there. */
	for (int n = 0; api_ioctl(g->vcpu, KVM_RUN, NULL); n++) {
		assert_int_equal(errno, EINTR);
		if (n == 3)
			return false;
	}
	/* A triple fault is L1's own: one of L2's is an exit to it. */
	o->lost = g->run->exit_reason == KVM_EXIT_SHUTDOWN && memory_whole(g);
	if (g->run->exit_reason != KVM_EXIT_IO || (g->run->io.port != EXITED && g->run->io.port != FAILED))
		return false;
	r = guest_regs(g);
	o->failed = g->run->io.port == FAILED;
	o->error = o->reason = r.rbx;
	o->qualification = r.rcx;
	return true;
}

struct tally {
	unsigned long cases, open, entered, wrong;
	unsigned long broken[RULES];
};

static void tell(const struct tally *t, const struct outcome *o, const struct vmcs *v, const unsigned int *bent,
		 unsigned int count)
{
	print_error("case %lu: %s %#llx, qualification %#llx; broken:", t->cases, o->lost ? "L1 lost" : o->failed ? "error" : "reason",
		    (unsigned long long)o->reason, (unsigned long long)o->qualification);
	for (unsigned int n = 0; n < COUNT; n++)
		for (unsigned int k = 0; k < count; k++)
			if (bent[k] == n)
				print_error(" %s = %#llx", names[n], (unsigned long long)V(n));
	print_error(" (pin %#llx proc %#llx %#llx exit %#llx entry %#llx)\n", (unsigned long long)V(PIN),
		    (unsigned long long)V(PROC), (unsigned long long)V(PROC2), (unsigned long long)V(EXITS),
		    (unsigned long long)V(ENTRIES));
}

static void one(struct guest *g, const struct kvm_sregs *s, const struct machine *m, struct tally *t)
{
	unsigned int bent[3], count = 1 + (unsigned int)below(3);
	struct outcome o = { 0 };
	bool broken[CLASSES] = { false }, any = false;
	struct vmcs v;

	put_memory(g, m);
	fill(m, &v, s);
	for (unsigned int n = 0; n < count; n++)
		bent[n] = bend(m, &v);
	for (unsigned int n = 0; n < RULES; n++)
		if (rules[n].broken(m, &v)) {
			broken[rules[n].class] = any = true;
			t->broken[n]++;
		}
	t->cases++;
	/* Without an exit there is nothing to see: 26.6.2. */
	if ((!broken[CONTROL] && !broken[HOST] && leads_astray(&v, s)) || open_question(m, &v) || (!any && v.f[ACTIVITY])) {
		t->open++;
		return;
	}
	write_fields(g, &v);
	if (!enter(g, &o)) {
		guest_end(g);
		*g = hypervisor(&(struct machine){ 0 });
		o.reason = 0;
	}
	t->entered += entered(&o);
	if ((agrees(&o, broken) && !o.lost) || t->wrong++ > 20)
		return;
	tell(t, &o, &v, bent, count);
	for (unsigned int n = 0; n < RULES; n++)
		if (rules[n].broken(m, &v))
			print_error("    %s\n", rules[n].name);
}

static void on_alarm(int sig)
{
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void test_rules(void **unused)
{
	struct itimerval on = { { 1, 0 }, { 1, 0 } }, off = { { 0, 0 }, { 0, 0 } };
	struct sigaction sa = { .sa_handler = on_alarm }, old;
	struct tally t = { 0 };
	struct kvm_sregs s;
	struct machine m;
	struct guest g;
	uint64_t runs;

	if (!api_linked())
		skip();
	assert_int_equal(anykvm_set_cpu("intel"), 0);
	g = hypervisor(&m);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	state = from_environment("RULES_SEED", 1);
	runs = from_environment("RULES_CASES", CASES);
	sigaction(SIGALRM, &sa, &old);
	setitimer(ITIMER_REAL, &on, NULL);
	for (uint64_t n = 0; n < runs; n++)
		one(&g, &s, &m, &t);
	setitimer(ITIMER_REAL, &off, NULL);
	sigaction(SIGALRM, &old, NULL);
	print_message("%lu entered, %lu open\n", t.entered, t.open);
	for (unsigned int n = 0; n < RULES; n++)
		print_message("%lu: %s\n", t.broken[n], rules[n].name);
	assert_int_equal(t.wrong, 0);
	assert_true(t.entered > t.cases / 10);
	for (unsigned int n = 0; n < RULES; n++)
		assert_true(t.broken[n] > 0);
	guest_end(&g);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_rules),
};

API_MAIN(tests)
