// SPDX-License-Identifier: MIT
/*
 * lapic_regs.c - the local APIC's registers, as a page of memory and as MSRs:
 * one row for each, at its offset / 16, which is also its MSR - 800h.
 */
#include <errno.h>
#include <string.h>

#include "x86/irq/apic_bus.h"
#include "x86/irq/lapic.h"
#include "x86/irq/lapic_priv.h"

#define PAGE_BYTES	0x1000u
#define ICR_MSR		(LAPIC_MSR_FIRST + REG_ICR / 16)
/* SDM 3A, figure 11-28; bit 12, delivery status, is gone in x2APIC mode and ignored. */
#define ICR_RESERVED	0xfff32000u

/* Who may do what: as memory (xAPIC mode), as an MSR (x2APIC mode). */
enum {
	MR = 1,
	MW = 2,
	XR = 4,
	XW = 8,
	RO = MR | XR,
	WO = MW | XW,
	RW = RO | WO,
};

/**
 * struct reg - one register.
 * @valid: the bits that a write may set; others are ignored.  In x2APIC mode SDM
 * 3A, 11.12.1.3 would have #GP; like KVM we raise it for bits 63:32 alone.
 * @strict: ... and for any other bit too.
 * @read, @write: where it is more than storage.
 */
struct reg {
	uint8_t access;
	bool strict;
	uint32_t valid;
	uint32_t (*read)(struct lapic *l);
	void (*write)(struct lapic *l, unsigned int off, uint32_t v);
	uint32_t (*more_valid)(const struct lapic *l);
};

static void report_tpr(struct lapic *l, bool write)
{
	if (l->ops->tpr_access)
		l->ops->tpr_access(l->vcpu, write);
}

static uint32_t read_tpr(struct lapic *l)
{
	report_tpr(l, false);
	return lapic_reg(l, REG_TPR);
}

static uint32_t read_ppr(struct lapic *l)
{
	lapic_update_ppr(l);
	return lapic_reg(l, REG_PPR);
}

static uint32_t read_count(struct lapic *l)
{
	return lapic_timer_count(l);
}

static void write_plain(struct lapic *l, unsigned int off, uint32_t v)
{
	lapic_set_reg(l, off, v);
}

static void write_id(struct lapic *l, unsigned int off, uint32_t v)
{
	write_plain(l, off, v);
	if (v >> 24 != (l->id & 0xff))
		__atomic_store_n(&l->bus->ids_changed, true, __ATOMIC_RELAXED);
}

static void write_tpr(struct lapic *l, unsigned int off, uint32_t v)
{
	report_tpr(l, true);
	lapic_set_tpr(l, v);
}

static void write_eoi(struct lapic *l, unsigned int off, uint32_t v)
{
	lapic_eoi(l);
}

/* Bits 27:0 read as 1 (SDM 3A, 11.6.2.2). */
static void write_dfr(struct lapic *l, unsigned int off, uint32_t v)
{
	lapic_set_reg(l, off, v | 0x0fffffff);
}

static uint32_t svr_more_valid(const struct lapic *l)
{
	return lapic_reg(l, REG_LVR) & LVR_NO_EOI ? SVR_NO_EOI : 0;
}

/* Software disabling masks the whole local vector table (SDM 3A, 11.4.7.2). */
static void write_svr(struct lapic *l, unsigned int off, uint32_t v)
{
	bool was = lapic_sw_enabled(l);

	lapic_set_reg(l, off, v);
	if (v & SVR_ENABLE) {
		if (!was)
			l->ops->request(l->vcpu);
		return;
	}
	for (unsigned int i = 0; i < l->nr_lvt; i++)
		lapic_set_reg(l, REG_LVT(i), lapic_reg(l, REG_LVT(i)) | LVT_MASKED);
}

/* A write moves the errors since the last one into the register (SDM 3A, 11.5.3). */
static void write_esr(struct lapic *l, unsigned int off, uint32_t v)
{
	lapic_set_reg(l, off, __atomic_exchange_n(&l->errors, 0, __ATOMIC_RELAXED));
}

static void send_ipi(struct lapic *l, uint32_t icr, uint32_t dest)
{
	struct apic_msg msg = {
		.dest = dest,
		.vector = icr & LVT_VECTOR,
		.delivery = (icr & LVT_DELIVERY) >> 8,
		.shorthand = icr >> 18 & 3,
		.logical = icr & ICR_LOGICAL,
		.level_trig = icr & ICR_LEVEL,
		.assert = icr & ICR_ASSERT,
	};

	if ((msg.delivery == APIC_FIXED || msg.delivery == APIC_LOWEST) && msg.vector < 16) {
		lapic_error(l, ESR_SEND_VECTOR);
		return;
	}
	apic_bus_deliver(l->bus, l, &msg, NULL);
}

static void write_icr(struct lapic *l, unsigned int off, uint32_t v)
{
	lapic_set_reg(l, off, v);
	send_ipi(l, v, lapic_reg(l, REG_ICR2) >> 24);
}

static void write_self_ipi(struct lapic *l, unsigned int off, uint32_t v)
{
	send_ipi(l, APIC_TO_SELF << 18 | v, 0);
}

static void write_lvt(struct lapic *l, unsigned int off, uint32_t v)
{
	lapic_set_reg(l, off, lapic_sw_enabled(l) ? v : v | LVT_MASKED);
}

static void write_lvtt(struct lapic *l, unsigned int off, uint32_t v)
{
	write_lvt(l, off, v);
	lapic_timer_mode_changed(l);
}

static void write_tmict(struct lapic *l, unsigned int off, uint32_t v)
{
	lapic_timer_set_initial(l, v);
}

static void write_tdcr(struct lapic *l, unsigned int off, uint32_t v)
{
	lapic_timer_set_divide(l, v);
}

#define LVT_PLAIN	(LVT_VECTOR | LVT_MASKED)
#define LVT_ANY		(LVT_PLAIN | LVT_DELIVERY)
#define LVT_PIN		(LVT_ANY | LVT_POLARITY | LVT_LEVEL)
#define LVT(name)	[REG_LVT(LAPIC_LVT_##name) / 16]
#define R8(off)		[(off) / 16 ... (off) / 16 + 7]

static const struct reg regs[PAGE_BYTES / 16] = {
	[REG_ID / 16] = { .access = RO | MW, .valid = 0xff000000, .write = write_id },
	[REG_LVR / 16] = { .access = RO },
	[REG_TPR / 16] = { .access = RW, .valid = 0xff, .read = read_tpr, .write = write_tpr },
	[REG_APR / 16] = { .access = MR },
	[REG_PPR / 16] = { .access = RO, .read = read_ppr },
	[REG_EOI / 16] = { .access = WO, .write = write_eoi },
	[REG_LDR / 16] = { .access = RO | MW, .valid = 0xff000000, .write = write_plain },
	[REG_DFR / 16] = { .access = MR | MW, .valid = 0xf0000000, .write = write_dfr },
	[REG_SVR / 16] = { .access = RW, .valid = 0x3ff, .more_valid = svr_more_valid, .write = write_svr },
	R8(REG_ISR) = { .access = RO },
	R8(REG_TMR) = { .access = RO },
	R8(REG_IRR) = { .access = RO },
	[REG_ESR / 16] = { .access = RW, .strict = true, .write = write_esr },
	/* As memory, KVM keeps the reserved bits too; as an MSR see write_icr_msr(). */
	[REG_ICR / 16] = { .access = RW, .valid = ~ICR_BUSY, .write = write_icr },
	[REG_ICR2 / 16] = { .access = MR | MW, .valid = 0xff000000, .write = write_plain },
	LVT(TIMER) = { .access = RW, .valid = LVT_PLAIN,
		       .more_valid = lapic_timer_modes, .write = write_lvtt },
	LVT(THERMAL) = { .access = RW, .valid = LVT_ANY, .write = write_lvt },
	LVT(PMC) = { .access = RW, .valid = LVT_ANY, .write = write_lvt },
	LVT(LINT0) = { .access = RW, .valid = LVT_PIN, .write = write_lvt },
	LVT(LINT1) = { .access = RW, .valid = LVT_PIN, .write = write_lvt },
	LVT(ERROR) = { .access = RW, .valid = LVT_PLAIN, .write = write_lvt },
	LVT(CMCI) = { .access = RW, .valid = LVT_ANY, .write = write_lvt },
	[REG_TMICT / 16] = { .access = RW, .valid = ~0u, .write = write_tmict },
	[REG_TMCCT / 16] = { .access = RO, .read = read_count },
	[REG_TDCR / 16] = { .access = RW, .valid = 0xb, .write = write_tdcr },
	[REG_SELF_IPI / 16] = { .access = XW, .strict = true, .valid = 0xff, .write = write_self_ipi },
};

static const struct reg *reg_at(const struct lapic *l, unsigned int off)
{
	static const struct reg none;

	return off == REG_LVT_CMCI && l->nr_lvt <= LAPIC_LVT_CMCI ? &none : &regs[off / 16];
}

static uint32_t read_reg(struct lapic *l, const struct reg *r, unsigned int off)
{
	return r->read ? r->read(l) : lapic_reg(l, off);
}

static uint32_t valid_bits(const struct lapic *l, const struct reg *r)
{
	return r->valid | (r->more_valid ? r->more_valid(l) : 0);
}

/* 0: ours, do it.  1: swallow it.  -EOPNOTSUPP: not ours. */
static int mmio_target(const struct lapic *l, uint64_t gpa)
{
	uint64_t page = lapic_base(l) & ~(uint64_t)(PAGE_BYTES - 1);

	if (gpa - page >= PAGE_BYTES)
		return -EOPNOTSUPP;
	if (lapic_hw_enabled(l) && !lapic_in_x2apic(l))
		return 0;
	/* KVM_X86_QUIRK_LAPIC_MMIO_HOLE: the page goes on hiding what is behind it, and reads as ones. */
	return l->bus->mmio_hole ? 1 : -EOPNOTSUPP;
}

int lapic_read(struct lapic *l, uint64_t gpa, unsigned int len, void *data)
{
	unsigned int off = gpa & (PAGE_BYTES - 16), byte = gpa & 15;
	const struct reg *r = reg_at(l, off);
	uint32_t v = 0;
	int target = mmio_target(l, gpa);

	if (target < 0)
		return target;
	memset(data, target ? 0xff : 0, len);
	if (target || byte + len > 4)
		return 0;
	if (r->access & MR)
		v = read_reg(l, r, off);
	else if (!(r->access & MW))
		lapic_error(l, ESR_REGISTER);
	memcpy(data, (const uint8_t *)&v + byte, len);
	return 0;
}

int lapic_write(struct lapic *l, uint64_t gpa, unsigned int len, const void *data)
{
	unsigned int off = gpa & (PAGE_BYTES - 16);
	const struct reg *r = reg_at(l, off);
	uint32_t v;
	int target = mmio_target(l, gpa);

	if (target < 0)
		return target;
	/* SDM 3A, 11.4.1: 32 bits at a 16-byte boundary; the rest is undefined and, as with KVM, ignored. */
	if (target || len != 4 || (gpa & 15))
		return 0;
	memcpy(&v, data, sizeof(v));
	if (r->access & MW)
		r->write(l, off, v & valid_bits(l, r));
	else if (!(r->access & MR))
		lapic_error(l, ESR_REGISTER);
	return 0;
}

int lapic_read_msr(struct lapic *l, uint32_t msr, uint64_t *value)
{
	unsigned int off = (msr - LAPIC_MSR_FIRST) * 16;
	const struct reg *r;

	if (msr < LAPIC_MSR_FIRST || msr > LAPIC_MSR_LAST || !lapic_in_x2apic(l))
		return -EINVAL;
	r = reg_at(l, off);
	if (!(r->access & XR))
		return -EINVAL;
	*value = read_reg(l, r, off);
	if (msr == ICR_MSR)
		*value |= (uint64_t)lapic_reg(l, REG_ICR2) << 32;
	return 0;
}

/* The two halves of the ICR are one register here; the upper one is the destination (SDM 3A, 11.12.9). */
static int write_icr_msr(struct lapic *l, uint64_t value)
{
	if (value & ICR_RESERVED)
		return -EINVAL;
	lapic_set_reg(l, REG_ICR, value & ~ICR_BUSY);
	lapic_set_reg(l, REG_ICR2, value >> 32);
	send_ipi(l, value, value >> 32);
	return 0;
}

int lapic_write_msr(struct lapic *l, uint32_t msr, uint64_t value)
{
	unsigned int off = (msr - LAPIC_MSR_FIRST) * 16;
	const struct reg *r;
	uint32_t valid;

	if (msr < LAPIC_MSR_FIRST || msr > LAPIC_MSR_LAST || !lapic_in_x2apic(l))
		return -EINVAL;
	if (msr == ICR_MSR)
		return write_icr_msr(l, value);
	r = reg_at(l, off);
	if (!(r->access & XW) || value >> 32)
		return -EINVAL;
	valid = valid_bits(l, r);
	if (r->strict && (value & ~valid))
		return -EINVAL;
	r->write(l, off, value & valid);
	return 0;
}

/* --- MSRs of Hyper-V's ------------------------------------------------------------------ */

static const uint16_t hv_regs[] = {
	[LAPIC_HV_EOI] = REG_EOI, [LAPIC_HV_ICR] = REG_ICR, [LAPIC_HV_TPR] = REG_TPR,
};

int lapic_read_hv(struct lapic *l, enum lapic_hv_reg reg, uint64_t *value)
{
	const struct reg *r = reg_at(l, hv_regs[reg]);

	if (!(r->access & (MR | XR)))
		return -EINVAL;
	*value = read_reg(l, r, hv_regs[reg]);
	if (reg == LAPIC_HV_ICR)
		*value |= (uint64_t)lapic_reg(l, REG_ICR2) << 32;
	return 0;
}

int lapic_write_hv(struct lapic *l, enum lapic_hv_reg reg, uint64_t value)
{
	const struct reg *r = reg_at(l, hv_regs[reg]);

	if (reg == LAPIC_HV_ICR) {
		lapic_set_reg(l, REG_ICR, value & ~ICR_BUSY);
		lapic_set_reg(l, REG_ICR2, value >> 32);
		send_ipi(l, (uint32_t)value, lapic_in_x2apic(l) ? value >> 32 : value >> 56);
		return 0;
	}
	if (value >> 32)
		return -EINVAL;
	r->write(l, hv_regs[reg], (uint32_t)value & valid_bits(l, r));
	return 0;
}
