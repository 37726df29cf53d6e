// SPDX-License-Identifier: MIT
/*
 * lapic.c - the local APIC: modes, acceptance, priorities, end of interrupt,
 * reset and state.  Registers are in lapic_regs.c, the timer in lapic_timer.c.
 *
 * IRR and irr_pending.  A sender sets the IRR bit and then irr_pending; the
 * owner clears irr_pending, then the IRR bit, then looks for other bits and
 * sets irr_pending again if there are some.  Each IRR update is a locked
 * operation and so a full barrier: of a sender and an owner that race, either
 * the owner sees the sender's bit, or the sender's store to irr_pending comes
 * after the owner's.  Hence irr_pending == 0 implies that IRR is empty, but
 * for bits whose sender has not returned yet and will kick.
 */
#include "x86/irq/lapic.h"

#include <errno.h>
#include <string.h>
#include <linux/kvm.h>

#include "x86/irq/apic_bus.h"
#include "x86/irq/lapic_priv.h"

#define NR_WORDS	8		/* of 32 vectors each, 16 bytes apart */
#define LAPIC_VERSION	0x14u
#define MIN_VECTOR	16		/* lower ones are illegal (SDM 3A, 11.5.2) */

_Static_assert(sizeof(struct kvm_lapic_state) == KVM_APIC_REG_SIZE, "the page that KVM_GET_LAPIC copies");
_Static_assert(sizeof(((struct lapic *)0)->regs) >= KVM_APIC_REG_SIZE, "all of it has a place");

static int highest_vector(const struct lapic *l, unsigned int off)
{
	for (int i = NR_WORDS - 1; i >= 0; i--) {
		uint32_t w = lapic_reg(l, off + i * 0x10);

		if (w)
			return i * 32 + 31 - __builtin_clz(w);
	}
	return -1;
}

static uint32_t *vector_word(struct lapic *l, unsigned int off, uint8_t vector)
{
	return &l->regs[(off + vector / 32 * 0x10) / 4];
}

static void set_vector(struct lapic *l, unsigned int off, uint8_t vector)
{
	__atomic_fetch_or(vector_word(l, off, vector), 1u << vector % 32, __ATOMIC_SEQ_CST);
}

static void clear_vector(struct lapic *l, unsigned int off, uint8_t vector)
{
	__atomic_fetch_and(vector_word(l, off, vector), ~(1u << vector % 32), __ATOMIC_SEQ_CST);
}

uint64_t lapic_base(const struct lapic *l)
{
	return __atomic_load_n(&l->base, __ATOMIC_RELAXED);
}

bool lapic_in_x2apic(const struct lapic *l)
{
	return lapic_base(l) & LAPIC_BASE_X2APIC;
}

bool lapic_hw_enabled(const struct lapic *l)
{
	return lapic_base(l) & LAPIC_BASE_ENABLE;
}

bool lapic_sw_enabled(const struct lapic *l)
{
	return lapic_reg(l, REG_SVR) & SVR_ENABLE;
}

void lapic_set_x2apic_id(struct lapic *l)
{
	lapic_set_reg(l, REG_ID, l->id);
	lapic_set_reg(l, REG_LDR, lapic_x2apic_ldr(l->id));
}

/* What a change of mode does to the registers; nothing is lost by disabling, as with KVM. */
static void store_base(struct lapic *l, uint64_t value)
{
	uint64_t changed = lapic_base(l) ^ value;

	__atomic_store_n(&l->base, value, __ATOMIC_RELAXED);
	if (!(changed & (LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC)))
		return;
	/* From x2APIC to xAPIC only the client can bring it, as since Linux 6.3: the ID's format follows. */
	if (value & LAPIC_BASE_X2APIC)
		lapic_set_x2apic_id(l);
	else if (value & LAPIC_BASE_ENABLE)
		lapic_set_reg(l, REG_ID, l->id << 24);
}

int lapic_set_base(struct lapic *l, uint64_t value, bool host)
{
	uint64_t old = lapic_base(l), mode = LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC;
	uint64_t reserved = l->reserved_gpa | 0x2ff;

	if (!(l->features & LAPIC_FEAT_X2APIC))
		reserved |= LAPIC_BASE_X2APIC;
	if (value & reserved)
		return -EINVAL;
	if ((value & mode) == LAPIC_BASE_X2APIC)
		return -EINVAL;
	/* SDM 3A, 11.12.5: x2APIC mode is entered from xAPIC mode, and left for none but "disabled". */
	if (!host && (old & mode) == mode && (value & mode) == LAPIC_BASE_ENABLE)
		return -EINVAL;
	if (!host && !(old & LAPIC_BASE_ENABLE) && (value & mode) == mode)
		return -EINVAL;
	store_base(l, value);
	l->ops->request(l->vcpu);
	return 0;
}

/* KVM's I/O APIC has no EOI register, so directed EOI exists only where the I/O APIC is userspace's. */
static void set_version(struct lapic *l)
{
	uint32_t v = LAPIC_VERSION | (l->nr_lvt - 1) << 16;

	if ((l->features & LAPIC_FEAT_X2APIC) && l->bus->directed_eoi)
		v |= LVR_NO_EOI;
	lapic_set_reg(l, REG_LVR, v);
}

void lapic_set_features(struct lapic *l, uint32_t features, unsigned int maxphyaddr)
{
	l->features = features;
	l->reserved_gpa = ~0ull << maxphyaddr;
	set_version(l);
}

void lapic_set_cmci(struct lapic *l, bool there)
{
	unsigned int n = there ? LAPIC_NR_LVT : LAPIC_LVT_CMCI;

	if (n == l->nr_lvt)
		return;
	l->nr_lvt = n;
	if (there)
		lapic_set_reg(l, REG_LVT(LAPIC_LVT_CMCI), LVT_MASKED);
	set_version(l);
}

void lapic_init(struct lapic *l, struct apic_bus *bus, uint32_t id, bool bsp,
		const struct lapic_ops *ops, void *vcpu)
{
	memset(l, 0, sizeof(*l));
	l->ops = ops;
	l->vcpu = vcpu;
	l->bus = bus;
	l->id = id;
	l->bsp = bsp;
	l->reserved_gpa = ~0ull << 36;
	l->nr_lvt = LAPIC_LVT_CMCI;
	lapic_reset(l, false);
}

int lapic_join(struct lapic *l)
{
	int index = apic_bus_add(l->bus, l);

	return index < 0 ? index : 0;
}

static void clear_in_service(struct lapic *l)
{
	for (unsigned int i = 0; i < NR_WORDS; i++) {
		lapic_set_reg(l, REG_ISR + i * 0x10, 0);
		lapic_set_reg(l, REG_TMR + i * 0x10, 0);
		lapic_set_reg(l, REG_IRR + i * 0x10, 0);
	}
	__atomic_store_n(&l->irr_pending, 0, __ATOMIC_SEQ_CST);
	l->isr_top = -1;
}

void lapic_reset(struct lapic *l, bool init)
{
	if (!init) {
		store_base(l, LAPIC_DEFAULT_BASE | LAPIC_BASE_ENABLE | (l->bsp ? LAPIC_BASE_BSP : 0));
		lapic_set_reg(l, REG_ID, l->id << 24);
	}
	set_version(l);
	for (unsigned int i = 0; i < l->nr_lvt; i++)
		lapic_set_reg(l, REG_LVT(i), LVT_MASKED);
	if (l->bsp && l->bus->lint0_reenabled)
		lapic_set_reg(l, REG_LVT0, APIC_EXTINT << 8);
	lapic_set_reg(l, REG_DFR, ~0u);
	lapic_set_reg(l, REG_SVR, 0xff);
	lapic_set_reg(l, REG_TPR, 0);
	lapic_set_reg(l, REG_PPR, 0);
	if (!lapic_in_x2apic(l))
		lapic_set_reg(l, REG_LDR, 0);
	lapic_set_reg(l, REG_ESR, 0);
	__atomic_store_n(&l->errors, 0, __ATOMIC_RELAXED);
	lapic_set_reg(l, REG_ICR, 0);
	lapic_set_reg(l, REG_ICR2, 0);
	clear_in_service(l);
	lapic_timer_stop(l);
}

/* An error is latched for the next write to ESR, and interrupts once (SDM 3A, 11.5.3). */
void lapic_error(struct lapic *l, uint32_t error)
{
	uint32_t old = __atomic_fetch_or(&l->errors, error, __ATOMIC_RELAXED);

	/* Only for a new one: so an illegal vector in LVTERR itself ends here. */
	if (!(old & error))
		lapic_deliver_lvt(l, LAPIC_LVT_ERROR);
}

/* Priorities */

int lapic_highest_irr(const struct lapic *l)
{
	return lapic_has_pending(l) ? highest_vector(l, REG_IRR) : -1;
}

int lapic_highest_isr(const struct lapic *l)
{
	return l->isr_top;
}

bool lapic_in_flight(const struct lapic *l, uint8_t vector)
{
	return lapic_test_vector(l, REG_IRR, vector) || lapic_test_vector(l, REG_ISR, vector);
}

static bool in_set(const uint64_t set[4], uint8_t vector)
{
	return set[vector / 64] >> vector % 64 & 1;
}

bool lapic_eoi_wanted(const struct lapic *l, uint8_t vector)
{
	return (__atomic_load_n(&l->bus->eoi_vectors[vector / 64], __ATOMIC_RELAXED) >> vector % 64 & 1) ||
	       in_set(l->watched, vector);
}

void lapic_set_watched(struct lapic *l, const uint64_t watched[4], const uint64_t auto_eoi[4])
{
	memcpy(l->watched, watched, sizeof(l->watched));
	memcpy(l->auto_eoi, auto_eoi, sizeof(l->auto_eoi));
}

/* PPR is the higher class of TPR and the vector in service (SDM 3A, 11.8.3.1). */
static uint32_t compute_ppr(const struct lapic *l)
{
	uint32_t tpr = lapic_reg(l, REG_TPR) & 0xff, isr = l->isr_top < 0 ? 0 : l->isr_top & 0xf0;

	return (tpr & 0xf0) >= isr ? tpr : isr;
}

void lapic_update_ppr(struct lapic *l)
{
	uint32_t ppr = compute_ppr(l), old = lapic_reg(l, REG_PPR);

	lapic_set_reg(l, REG_PPR, ppr);
	if (ppr < old && lapic_pending_vector(l) >= 0)
		l->ops->request(l->vcpu);
}

int lapic_pending_vector(struct lapic *l)
{
	uint32_t ppr;
	int vector;

	if (!lapic_has_pending(l) || !lapic_hw_enabled(l))
		return -1;
	vector = highest_vector(l, REG_IRR);
	if (vector < 0)
		return -1;
	ppr = compute_ppr(l);
	lapic_set_reg(l, REG_PPR, ppr);
	return (uint32_t)(vector & 0xf0) > ppr ? vector : -1;
}

static void tell_end(struct lapic *l, uint8_t vector, bool automatic)
{
	if (in_set(l->watched, vector) && l->ops->ended)
		l->ops->ended(l->vcpu, vector, automatic);
}

int lapic_ack(struct lapic *l)
{
	int vector = lapic_pending_vector(l);

	if (vector < 0)
		return -1;
	__atomic_store_n(&l->irr_pending, 0, __ATOMIC_SEQ_CST);
	clear_vector(l, REG_IRR, vector);
	if (highest_vector(l, REG_IRR) >= 0)
		__atomic_store_n(&l->irr_pending, 1, __ATOMIC_SEQ_CST);
	if (in_set(l->auto_eoi, vector)) {
		/* It is over: PPR stays, and the next one may be let in at once. */
		tell_end(l, (uint8_t)vector, true);
		if (lapic_pending_vector(l) >= 0)
			l->ops->request(l->vcpu);
		return vector;
	}
	/* What is taken has a higher class than all in service. */
	set_vector(l, REG_ISR, vector);
	l->isr_top = vector;
	lapic_set_reg(l, REG_PPR, compute_ppr(l));
	return vector;
}

int lapic_eoi(struct lapic *l)
{
	int vector = l->isr_top;
	bool level;

	if (vector < 0)
		return -1;
	clear_vector(l, REG_ISR, vector);
	l->isr_top = highest_vector(l, REG_ISR);
	lapic_update_ppr(l);
	tell_end(l, (uint8_t)vector, false);
	level = lapic_test_vector(l, REG_TMR, vector);
	if (!level || !(lapic_reg(l, REG_SVR) & SVR_NO_EOI))
		apic_bus_eoi(l->bus, l->index, vector, level);
	return vector;
}

uint8_t lapic_get_tpr(const struct lapic *l)
{
	return lapic_reg(l, REG_TPR) & 0xff;
}

void lapic_set_tpr(struct lapic *l, uint8_t tpr)
{
	lapic_set_reg(l, REG_TPR, tpr);
	lapic_update_ppr(l);
}

uint8_t lapic_get_cr8(const struct lapic *l)
{
	return lapic_reg(l, REG_TPR) >> 4 & 0xf;
}

void lapic_set_cr8(struct lapic *l, uint8_t cr8)
{
	lapic_set_tpr(l, (cr8 & 0xf) << 4);
}

bool lapic_accept_pic_intr(const struct lapic *l)
{
	uint32_t lint0 = lapic_reg(l, REG_LVT0);

	return !lapic_hw_enabled(l) || (lint0 & (LVT_MASKED | LVT_DELIVERY)) == APIC_EXTINT << 8;
}

/* Acceptance */

static int accept_vector(struct lapic *l, const struct apic_msg *msg)
{
	if ((msg->level_trig && !msg->assert) || !lapic_hw_enabled(l) || !lapic_sw_enabled(l))
		return 0;
	if (msg->vector < MIN_VECTOR) {
		lapic_error(l, ESR_RECV_VECTOR);
		return 0;
	}
	/* TMR first: it must be right by the time that the vector can be taken and ended. */
	if (lapic_test_vector(l, REG_TMR, msg->vector) != msg->level_trig) {
		if (msg->level_trig)
			set_vector(l, REG_TMR, msg->vector);
		else
			clear_vector(l, REG_TMR, msg->vector);
	}
	set_vector(l, REG_IRR, msg->vector);
	__atomic_store_n(&l->irr_pending, 1, __ATOMIC_SEQ_CST);
	l->ops->kick(l->vcpu);
	return 1;
}

static int accept_smi(struct lapic *l, const struct apic_msg *msg)
{
	l->ops->smi(l->vcpu);
	return 1;
}

static int accept_unhalt(struct lapic *l, const struct apic_msg *msg)
{
	if (!l->ops->unhalt)
		return 0;
	l->ops->unhalt(l->vcpu);
	return 1;
}

static int accept_nmi(struct lapic *l, const struct apic_msg *msg)
{
	l->ops->nmi(l->vcpu);
	return 1;
}

/* The de-assert form only synchronized arbitration IDs on old buses (SDM 3A, 11.6.1). */
static int accept_init(struct lapic *l, const struct apic_msg *msg)
{
	if (msg->level_trig && !msg->assert)
		return 0;
	/* A startup before this INIT is void. */
	__atomic_store_n(&l->events, LAPIC_EVENT_INIT, __ATOMIC_RELEASE);
	l->ops->kick(l->vcpu);
	return 1;
}

static int accept_startup(struct lapic *l, const struct apic_msg *msg)
{
	lapic_set_sipi_vector(l, msg->vector);
	/* Releases the vector to lapic_take_event(). */
	__atomic_fetch_or(&l->events, LAPIC_EVENT_SIPI, __ATOMIC_RELEASE);
	l->ops->kick(l->vcpu);
	return 1;
}

/* As a message, ExtINT goes nowhere: the PIC reaches the processor by LINT0, see lapic_accept_pic_intr(). */
static int accept_extint(struct lapic *l, const struct apic_msg *msg)
{
	return 0;
}

int lapic_accept(struct lapic *l, const struct apic_msg *msg)
{
	static int (*const accept[])(struct lapic *, const struct apic_msg *) = {
		[APIC_FIXED] = accept_vector,
		[APIC_LOWEST] = accept_vector,
		[APIC_SMI] = accept_smi,
		[APIC_REMOTE_READ] = accept_unhalt,
		[APIC_NMI] = accept_nmi,
		[APIC_INIT] = accept_init,
		[APIC_STARTUP] = accept_startup,
		[APIC_EXTINT] = accept_extint,
	};

	return accept[msg->delivery & 7](l, msg);
}

int lapic_deliver_lvt(struct lapic *l, unsigned int lvt)
{
	uint32_t entry = lapic_reg(l, REG_LVT(lvt));
	struct apic_msg msg = {
		.vector = entry & LVT_VECTOR,
		.delivery = (entry & LVT_DELIVERY) >> 8,
		.level_trig = entry & LVT_LEVEL,
		.assert = true,
	};
	int accepted;

	if (!lapic_hw_enabled(l) || (entry & LVT_MASKED))
		return 0;
	accepted = lapic_accept(l, &msg);
	/* SDM 3B, 19.6.3.5.8: a PMI masks its own entry; on AMD it does not. */
	if (accepted && lvt == LAPIC_LVT_PMC && (l->features & LAPIC_FEAT_INTEL))
		lapic_set_reg(l, REG_LVT(lvt), entry | LVT_MASKED);
	return accepted;
}

/* INIT and STARTUP */

bool lapic_take_event(struct lapic *l, uint32_t event)
{
	return __atomic_fetch_and(&l->events, ~event, __ATOMIC_ACQUIRE) & event;
}

void lapic_post_event(struct lapic *l, uint32_t event)
{
	__atomic_fetch_or(&l->events, event, __ATOMIC_RELEASE);
}

uint8_t lapic_sipi_vector(const struct lapic *l)
{
	return __atomic_load_n(&l->sipi_vector, __ATOMIC_RELAXED);
}

void lapic_set_sipi_vector(struct lapic *l, uint8_t vector)
{
	__atomic_store_n(&l->sipi_vector, vector, __ATOMIC_RELAXED);
}

/* State.  In xAPIC format, the default, an x2APIC ID is shown in bits 31:24 (api.rst, KVM_GET_LAPIC). */

static uint32_t load(const struct kvm_lapic_state *s, unsigned int off)
{
	uint32_t v;

	memcpy(&v, s->regs + off, sizeof(v));
	return v;
}

void lapic_get_state(struct lapic *l, struct kvm_lapic_state *s)
{
	for (unsigned int off = 0; off < KVM_APIC_REG_SIZE; off += 4) {
		uint32_t v = lapic_reg(l, off);

		if (off == REG_TMCCT)
			v = lapic_timer_count(l);
		else if (off == REG_ID && lapic_in_x2apic(l) && !l->bus->x2apic_format)
			v <<= 24;
		memcpy(s->regs + off, &v, sizeof(v));
	}
}

int lapic_set_state(struct lapic *l, const struct kvm_lapic_state *s)
{
	uint32_t id = load(s, REG_ID);
	bool x2apic = lapic_in_x2apic(l);

	if (x2apic && l->bus->x2apic_format && id != l->id)
		return -EINVAL;
	for (unsigned int off = 0; off < KVM_APIC_REG_SIZE; off += 4)
		lapic_set_reg(l, off, load(s, off));
	if (x2apic) {
		/* Nobody writes it: what the client gives is not looked at, as since Linux 6.11. */
		lapic_set_x2apic_id(l);
	} else if (id >> 24 != (l->id & 0xff)) {
		__atomic_store_n(&l->bus->ids_changed, true, __ATOMIC_RELAXED);
	}
	set_version(l);
	l->isr_top = highest_vector(l, REG_ISR);
	__atomic_store_n(&l->irr_pending, 1, __ATOMIC_SEQ_CST);
	lapic_set_reg(l, REG_PPR, compute_ppr(l));
	/* The deadline is an MSR of its own and stays, unless the timer's mode now is another. */
	lapic_timer_mode_changed(l);
	lapic_set_reg(l, REG_TMICT, load(s, REG_TMICT));
	lapic_timer_restore(l, load(s, REG_TMCCT));
	lapic_set_reg(l, REG_TMCCT, 0);
	l->ops->request(l->vcpu);
	return 0;
}
