/* SPDX-License-Identifier: MIT */
#include "vmm/dev/power.h"

#include <string.h>
#include <time.h>

#include "vmm/acpi/acpi.h"
#include "vmm/dev/ports.h"

#define PM_TIMER_HZ 3579545ull /* ACPI 6.4, 4.8.2.1 */

#define PM1_STATUS  0u
#define PM1_ENABLE  2u
#define PM1_CONTROL 0u
#define SCI_EN	    0x0001u
#define SLP_TYP(v)  ((v) >> 10 & 7)
#define SLP_EN	    0x2000u

#define RESET_CPU 0x04u /* of port 0xcf9: a reset when it rises */

#define I8042_PULSE_RESET 0xfeu
#define I8042_WRITE_OUT	  0xd1u /* the next data byte goes to the output port */
#define I8042_OUT_RESET	  0x01u /* of the output port, active low */

#define PVPANIC_PANICKED 0x01u

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static uint32_t pm_timer(const struct power *p)
{
	return (unsigned __int128)(now_ns() - p->start_ns) * PM_TIMER_HZ / 1000000000ull;
}

/* A register of up to 4 bytes read at any offset and length. */
static void give(void *data, unsigned int len, uint64_t off, uint32_t reg)
{
	for (unsigned int i = 0; i < len; i++)
		((uint8_t *)data)[i] = off + i < 4 ? reg >> (8 * (off + i)) : 0;
}

static uint32_t take(const void *data, unsigned int len)
{
	uint32_t v = 0;

	memcpy(&v, data, len < sizeof(v) ? len : sizeof(v));
	return v;
}

static void timer_read(void *opaque, uint64_t off, void *data, unsigned int len)
{
	give(data, len, off, pm_timer(opaque));
}

static void event_read(void *opaque, uint64_t off, void *data, unsigned int len)
{
	struct power *p = opaque;

	give(data, len, off, p->pm1_status | (uint32_t)p->pm1_enable << 16);
}

static void event_write(void *opaque, uint64_t off, const void *data, unsigned int len)
{
	struct power *p = opaque;

	/* No event of ours ever sets a status bit, so there is none to clear. */
	if (off == PM1_ENABLE)
		p->pm1_enable = take(data, len);
	else if (off == PM1_STATUS && len == 4)
		p->pm1_enable = take(data, len) >> 16;
}

static void control_read(void *opaque, uint64_t off, void *data, unsigned int len)
{
	struct power *p = opaque;

	give(data, len, off, p->pm1_control | SCI_EN);
}

static void control_write(void *opaque, uint64_t off, const void *data, unsigned int len)
{
	struct power *p = opaque;
	uint32_t v = take(data, len) << (8 * off);

	p->pm1_control = v & ~SLP_EN;
	if (v & SLP_EN && SLP_TYP(v) == ACPI_SLP_TYP_S5)
		run_end(p->ctl, END_POWEROFF, 0, NULL);
}

static void reset_write(void *opaque, uint64_t off, const void *data, unsigned int len)
{
	struct power *p = opaque;

	if (take(data, 1) & RESET_CPU)
		run_end(p->ctl, END_RESET, 0, NULL);
}

/* Of the keyboard controller only what resets a machine; its absence is in the FADT. */
static void i8042_command(void *opaque, uint64_t off, const void *data, unsigned int len)
{
	struct power *p = opaque;
	uint8_t v = take(data, 1);

	p->i8042_command = v;
	if (v == I8042_PULSE_RESET)
		run_end(p->ctl, END_RESET, 0, NULL);
}

static void i8042_data(void *opaque, uint64_t off, const void *data, unsigned int len)
{
	struct power *p = opaque;

	if (p->i8042_command == I8042_WRITE_OUT && !(take(data, 1) & I8042_OUT_RESET))
		run_end(p->ctl, END_RESET, 0, NULL);
	p->i8042_command = 0;
}

static void i8042_read(void *opaque, uint64_t off, void *data, unsigned int len)
{
	memset(data, 0, len); /* nothing waits, and there is room for a command */
}

static void exit_write(void *opaque, uint64_t off, const void *data, unsigned int len)
{
	struct power *p = opaque;

	run_end(p->ctl, END_EXIT_PORT, (int)(take(data, 1) & 0xff), NULL);
}

static void exit_read(void *opaque, uint64_t off, void *data, unsigned int len)
{
	memset(data, 0, len);
}

static void pvpanic_read(void *opaque, uint64_t off, void *data, unsigned int len)
{
	give(data, len, off, PVPANIC_PANICKED);
}

static void pvpanic_write(void *opaque, uint64_t off, const void *data, unsigned int len)
{
	struct power *p = opaque;

	if (take(data, 1) & PVPANIC_PANICKED)
		run_panicked(p->ctl);
}

static const struct bus_ops timer_ops = { .read = timer_read };
static const struct bus_ops event_ops = { .read = event_read, .write = event_write };
static const struct bus_ops control_ops = { .read = control_read, .write = control_write };
static const struct bus_ops reset_ops = { .write = reset_write };
static const struct bus_ops i8042_command_ops = { .read = i8042_read, .write = i8042_command };
static const struct bus_ops i8042_data_ops = { .read = i8042_read, .write = i8042_data };
static const struct bus_ops exit_ops = { .read = exit_read, .write = exit_write };
static const struct bus_ops pvpanic_ops = { .read = pvpanic_read, .write = pvpanic_write };

static const struct {
	uint16_t port;
	uint8_t len;
	const struct bus_ops *ops;
} ports[] = {
	{ ACPI_PM1_EVENT, 4, &event_ops },
	{ ACPI_PM1_CONTROL, 2, &control_ops },
	{ ACPI_PM_TIMER, 4, &timer_ops },
	{ ACPI_RESET_PORT, 1, &reset_ops },
	{ PORT_I8042_DATA, 1, &i8042_data_ops },
	{ PORT_I8042_COMMAND, 1, &i8042_command_ops },
	{ PORT_EXIT, 1, &exit_ops },
	{ PORT_PVPANIC, 1, &pvpanic_ops },
};

int power_init(struct power *p, struct bus *bus, struct run_ctl *ctl)
{
	int err = 0;

	memset(p, 0, sizeof(*p));
	p->ctl = ctl;
	p->start_ns = now_ns();
	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]) && !err; i++)
		err = bus_add(bus, BUS_PORT, ports[i].port, ports[i].len, ports[i].ops, p);
	return err;
}
