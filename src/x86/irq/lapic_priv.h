/* SPDX-License-Identifier: MIT */
/* lapic_priv.h - what the local APIC's own files share. */
#ifndef ANYKVM_X86_IRQ_LAPIC_PRIV_H
#define ANYKVM_X86_IRQ_LAPIC_PRIV_H

#include "x86/irq/lapic.h"

/* Register offsets (SDM 3A, table 11-1) */
enum {
	REG_ID		= 0x020,
	REG_LVR		= 0x030,
	REG_TPR		= 0x080,
	REG_APR		= 0x090,
	REG_PPR		= 0x0a0,
	REG_EOI		= 0x0b0,
	REG_LDR		= 0x0d0,
	REG_DFR		= 0x0e0,
	REG_SVR		= 0x0f0,
	REG_ISR		= 0x100,
	REG_TMR		= 0x180,
	REG_IRR		= 0x200,
	REG_ESR		= 0x280,
	REG_LVT_CMCI	= 0x2f0,
	REG_ICR		= 0x300,
	REG_ICR2	= 0x310,
	REG_LVTT	= 0x320,
	REG_LVT0	= 0x350,
	REG_TMICT	= 0x380,
	REG_TMCCT	= 0x390,
	REG_TDCR	= 0x3e0,
	REG_SELF_IPI	= 0x3f0,
};

#define REG_LVT(n)	((n) == LAPIC_LVT_CMCI ? REG_LVT_CMCI : REG_LVTT + 0x10 * (n))

#define LVT_VECTOR	0x000000ffu
#define LVT_DELIVERY	0x00000700u
#define LVT_STATUS	0x00001000u	/* delivery status: read-only */
#define LVT_POLARITY	0x00002000u
#define LVT_REMOTE_IRR	0x00004000u	/* read-only */
#define LVT_LEVEL	0x00008000u
#define LVT_MASKED	0x00010000u

#define TIMER_PERIODIC	0x00020000u
#define TIMER_DEADLINE	0x00040000u

#define SVR_ENABLE	0x00000100u
#define SVR_NO_EOI	0x00001000u	/* suppress EOI broadcasts */
#define LVR_NO_EOI	0x01000000u	/* SVR_NO_EOI exists */

#define ICR_LOGICAL	0x00000800u
#define ICR_BUSY	0x00001000u
#define ICR_ASSERT	0x00004000u
#define ICR_LEVEL	0x00008000u

/* ESR (SDM 3A, 11.5.3) */
#define ESR_SEND_VECTOR	0x20u
#define ESR_RECV_VECTOR	0x40u
#define ESR_REGISTER	0x80u

static inline uint32_t lapic_reg(const struct lapic *l, unsigned int off)
{
	return __atomic_load_n(&l->regs[off / 4], __ATOMIC_RELAXED);
}

static inline void lapic_set_reg(struct lapic *l, unsigned int off, uint32_t v)
{
	__atomic_store_n(&l->regs[off / 4], v, __ATOMIC_RELAXED);
}

static inline bool lapic_test_vector(const struct lapic *l, unsigned int off, uint8_t vector)
{
	return lapic_reg(l, off + vector / 32 * 0x10) >> vector % 32 & 1;
}

/* The logical x2APIC ID is derived from the x2APIC ID (SDM 3A, 11.12.10.2). */
static inline uint32_t lapic_x2apic_ldr(uint32_t id)
{
	return (id >> 4) << 16 | 1u << (id & 0xf);
}

/* lapic.c */
void lapic_update_ppr(struct lapic *l);
void lapic_error(struct lapic *l, uint32_t error);
void lapic_set_x2apic_id(struct lapic *l);

/* lapic_timer.c */
uint32_t lapic_timer_modes(const struct lapic *l);
uint32_t lapic_timer_count(const struct lapic *l);
void lapic_timer_mode_changed(struct lapic *l);
void lapic_timer_set_initial(struct lapic *l, uint32_t count);
void lapic_timer_set_divide(struct lapic *l, uint32_t tdcr);
void lapic_timer_restore(struct lapic *l, uint32_t current);
void lapic_timer_stop(struct lapic *l);

#endif
