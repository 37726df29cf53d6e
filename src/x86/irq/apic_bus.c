// SPDX-License-Identifier: MIT
/*
 * apic_bus.c - who an interrupt message is for, and its delivery.
 *
 * Two rules are KVM's own, and clients rely on them:
 *  - An xAPIC whose ID does not fit 8 bits is addressed by its x2APIC ID, so
 *    that vCPUs above 255 can be started before they enter x2APIC mode.
 *  - A message that is no IPI and has destination FFh is a broadcast also for
 *    x2APICs, since there is no interrupt remapping that could make it
 *    FFFFFFFFh; KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK ends that.
 */
#include "x86/irq/apic_bus.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "x86/irq/lapic.h"
#include "x86/irq/lapic_priv.h"

#define XAPIC_ALL	0xffu
#define X2APIC_ALL	0xffffffffu
#define DFR_CLUSTER	0x0fffffffu
#define DFR_FLAT	0xffffffffu

void apic_bus_init(struct apic_bus *bus, const struct apic_bus_ops *ops, void *vm)
{
	memset(bus, 0, sizeof(*bus));
	bus->ops = ops;
	bus->vm = vm;
	bus->lint0_reenabled = true;
	bus->mmio_hole = true;
}

int apic_msg_from_msi(struct apic_msg *msg, uint32_t address_lo, uint32_t address_hi, uint32_t data,
		      bool x2apic_format)
{
	if (x2apic_format && (address_hi & 0xff))
		return -EINVAL;
	*msg = (struct apic_msg){
		.dest = (address_lo >> 12 & 0xff) | (x2apic_format ? address_hi : 0),
		.vector = data & 0xff,
		.delivery = data >> 8 & 7,
		.logical = address_lo & 1u << 2,
		.redir_hint = address_lo & 1u << 3,
		.level_trig = data & 1u << 15,
		.assert = true,
	};
	return 0;
}

static unsigned int count(const struct apic_bus *bus)
{
	return __atomic_load_n(&bus->count, __ATOMIC_ACQUIRE);
}

int apic_bus_add(struct apic_bus *bus, struct lapic *l)
{
	unsigned int n = bus->count;

	if (n >= APIC_BUS_MAX)
		return -ENOSPC;
	l->index = n;
	bus->lapic[n] = l;
	/* Pairs with the acquire in count(): who sees the number sees the entry. */
	__atomic_store_n(&bus->count, n + 1, __ATOMIC_RELEASE);
	return n;
}

struct lapic *apic_bus_find(struct apic_bus *bus, uint32_t id)
{
	unsigned int n = count(bus);

	/* Clients create vCPUs in the order of their ids. */
	if (id < n && bus->lapic[id]->id == id)
		return bus->lapic[id];
	for (unsigned int i = 0; i < n; i++)
		if (bus->lapic[i]->id == id)
			return bus->lapic[i];
	return NULL;
}

static bool match_physical(const struct lapic *l, uint32_t dest)
{
	if (lapic_in_x2apic(l) || dest > 0xff)
		return dest == l->id;
	return dest == lapic_reg(l, REG_ID) >> 24;
}

static bool match_logical(const struct lapic *l, uint32_t dest)
{
	uint32_t ldr = lapic_reg(l, REG_LDR), dfr = lapic_reg(l, REG_DFR);

	if (lapic_in_x2apic(l))
		return ldr >> 16 == dest >> 16 && (ldr & dest & 0xffff);
	ldr >>= 24;
	if (dfr == DFR_FLAT)
		return ldr & dest;
	return dfr == DFR_CLUSTER && ldr >> 4 == dest >> 4 && (ldr & dest & 0xf);
}

bool apic_bus_match(const struct apic_bus *bus, const struct lapic *src, const struct lapic *l,
		    uint32_t dest, bool logical)
{
	bool x2apic = lapic_in_x2apic(l);

	if (x2apic && !src && dest == XAPIC_ALL && !bus->no_broadcast_quirk)
		dest = X2APIC_ALL;
	if (dest == (x2apic ? X2APIC_ALL : XAPIC_ALL))
		return true;
	return logical ? match_logical(l, dest) : match_physical(l, dest);
}

static bool match(const struct apic_bus *bus, const struct lapic *src, const struct lapic *l,
		  const struct apic_msg *msg)
{
	if (!lapic_hw_enabled(l))
		return false;
	switch (msg->shorthand) {
	case APIC_TO_DEST:
		return apic_bus_match(bus, src, l, msg->dest, msg->logical);
	case APIC_TO_ALL:
		return true;
	default:
		return l != src;
	}
}

static void add_dest(struct apic_dests *dests, const struct lapic *l)
{
	dests->map[l->index / 64] |= 1ull << l->index % 64;
}

static int accept(struct lapic *l, const struct apic_msg *msg, struct apic_dests *dests)
{
	int accepted = lapic_accept(l, msg);

	if (accepted && dests && (msg->delivery == APIC_FIXED || msg->delivery == APIC_LOWEST))
		add_dest(dests, l);
	return accepted;
}

static bool is_broadcast(const struct apic_msg *msg)
{
	return msg->shorthand != APIC_TO_DEST || msg->dest == XAPIC_ALL || msg->dest == X2APIC_ALL;
}

/*
 * The one local APIC with physical ID @dest.  IDs of xAPICs are writable and
 * may collide: an x2APIC goes first, then the first xAPIC.
 */
static struct lapic *physical_target(struct apic_bus *bus, uint32_t dest)
{
	struct lapic *found = NULL;
	unsigned int n = count(bus);

	if (dest < n && bus->lapic[dest]->id == dest && lapic_hw_enabled(bus->lapic[dest]) &&
	    match_physical(bus->lapic[dest], dest))
		return bus->lapic[dest];
	for (unsigned int i = 0; i < n; i++) {
		struct lapic *l = bus->lapic[i];

		if (!lapic_hw_enabled(l) || !match_physical(l, dest))
			continue;
		if (lapic_in_x2apic(l))
			return l;
		if (!found)
			found = l;
	}
	return found;
}

/*
 * Lowest priority: arbitration is the implementation's own (SDM 3A, 11.6.2.4).
 * Choosing by vector, as KVM does, spreads vectors and keeps each at one vCPU.
 */
static int deliver_lowest(struct apic_bus *bus, struct lapic *src, const struct apic_msg *msg,
			  struct apic_dests *dests)
{
	unsigned int n = count(bus), able = 0, nth;

	for (unsigned int i = 0; i < n; i++)
		able += match(bus, src, bus->lapic[i], msg) && lapic_sw_enabled(bus->lapic[i]);
	if (!able)
		return is_broadcast(msg) ? -1 : 0;
	nth = msg->vector % able;
	for (unsigned int i = 0; i < n; i++) {
		struct lapic *l = bus->lapic[i];

		if (match(bus, src, l, msg) && lapic_sw_enabled(l) && nth-- == 0)
			return accept(l, msg, dests);
	}
	/* They changed between the two walks: as if the message had come after that. */
	return 0;
}

static int deliver_all(struct apic_bus *bus, struct lapic *src, const struct apic_msg *msg,
		       struct apic_dests *dests)
{
	unsigned int n = count(bus);
	bool found = !is_broadcast(msg);
	int accepted = 0;

	for (unsigned int i = 0; i < n; i++) {
		if (!match(bus, src, bus->lapic[i], msg))
			continue;
		found = true;
		accepted += accept(bus->lapic[i], msg, dests);
	}
	return found ? accepted : -1;
}

/*
 * May several local APICs have the same physical ID?  Each then takes its messages, as on a processor; with 32-bit
 * IDs KVM keeps to one for each.
 */
static bool aliases(const struct apic_bus *bus)
{
	return !bus->x2apic_format && __atomic_load_n(&bus->ids_changed, __ATOMIC_RELAXED);
}

int apic_bus_deliver(struct apic_bus *bus, struct lapic *src, const struct apic_msg *msg,
		     struct apic_dests *dests)
{
	bool lowest = msg->delivery == APIC_LOWEST || msg->redir_hint;
	struct lapic *l;

	if (msg->shorthand == APIC_TO_SELF)
		return src ? accept(src, msg, dests) : 0;
	if (!msg->logical && !is_broadcast(msg) && !aliases(bus)) {
		l = physical_target(bus, msg->dest);
		return l ? accept(l, msg, dests) : 0;
	}
	/* A physical broadcast goes to all, whatever it says about priority. */
	if (lowest && (msg->logical || msg->dest != XAPIC_ALL))
		return deliver_lowest(bus, src, msg, dests);
	return deliver_all(bus, src, msg, dests);
}

int apic_bus_in_flight(struct apic_bus *bus, uint32_t dest, bool logical, uint8_t vector,
		       struct apic_dests *dests)
{
	unsigned int n = count(bus);
	int found = 0;

	for (unsigned int i = 0; i < n; i++) {
		struct lapic *l = bus->lapic[i];

		if (!apic_bus_match(bus, NULL, l, dest, logical) || !lapic_in_flight(l, vector))
			continue;
		add_dest(dests, l);
		found++;
	}
	return found;
}

void apic_bus_set_eoi_vectors(struct apic_bus *bus, const uint64_t v[4])
{
	for (unsigned int i = 0; i < 4; i++)
		__atomic_store_n(&bus->eoi_vectors[i], v[i], __ATOMIC_RELAXED);
}

void apic_bus_eoi(struct apic_bus *bus, unsigned int index, uint8_t vector, bool level)
{
	uint64_t wanted = __atomic_load_n(&bus->eoi_vectors[vector / 64], __ATOMIC_RELAXED);

	if (bus->ops && (wanted >> vector % 64 & 1))
		bus->ops->eoi(bus->vm, index, vector, level);
}

static bool lint0_is_nmi(const struct lapic *l)
{
	return (lapic_reg(l, REG_LVT0) & (LVT_MASKED | LVT_DELIVERY)) == APIC_NMI << 8;
}

void apic_bus_pulse_lint0(struct apic_bus *bus)
{
	unsigned int n = count(bus), i = 0;

	while (i < n && !lint0_is_nmi(bus->lapic[i]))
		i++;
	if (i == n)
		return;
	for (i = 0; i < n; i++)
		lapic_deliver_lvt(bus->lapic[i], LAPIC_LVT_LINT0);
}
