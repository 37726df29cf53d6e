/* SPDX-License-Identifier: MIT */
/*
 * serial.c - a 16550A UART.
 *
 * 1. Sending takes no time: the transmitter is always empty, and its interrupt
 *    is due as soon as it is enabled or a byte has been written.
 * 2. Input waits outside the FIFO while the guest is not ready for it, because
 *    a driver clears the FIFO and reads stray bytes while it starts: it is let
 *    in when the receive interrupt is enabled, or when the guest polls LSR.
 *    Clearing the receive FIFO therefore drops nothing; what waits arrives
 *    right behind the clearing.
 * 3. A guest that uses RTS as flow control is not sent to while RTS is low.
 */
#include "vmm/dev/serial.h"

#include <string.h>

enum { REG_DATA, REG_IER, REG_IIR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR, REGS };
#define REG_FCR REG_IIR

#define IER_RDI	 0x01
#define IER_THRI 0x02
#define IER_MASK 0x0f

#define IIR_NONE 0x01
#define IIR_THRI 0x02
#define IIR_RDI	 0x04
#define IIR_CTI	 0x0c /* character timeout: less than the trigger level waits */
#define IIR_FIFO 0xc0

#define FCR_ENABLE   0x01
#define FCR_CLEAR_RX 0x02
#define FCR_CLEAR_TX 0x04
#define FCR_KEPT     0xc9

#define LCR_DLAB 0x80

#define MCR_DTR	 0x01
#define MCR_RTS	 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08 /* gates the interrupt wire on a PC */
#define MCR_LOOP 0x10
#define MCR_MASK 0x1f

#define LSR_DR	  0x01
#define LSR_EMPTY 0x60 /* holding and shift register */

#define MSR_IDLE 0xb0 /* CTS, DSR and DCD: somebody listens */

#define POLLS_ARE_POLLING 64u

static bool rx_open(const struct serial *s)
{
	if (s->mcr & MCR_LOOP)
		return false;
	if (s->rts_seen && !(s->mcr & MCR_RTS))
		return false;
	return s->ier & IER_RDI || s->polls >= POLLS_ARE_POLLING;
}

static bool rx_ready(const struct serial *s)
{
	if (s->mcr & MCR_LOOP)
		return s->loop_byte >= 0;
	return s->rx_count && rx_open(s);
}

static unsigned int rx_trigger(const struct serial *s)
{
	static const uint8_t level[] = { 1, 4, 8, 14 };

	return s->fcr & FCR_ENABLE ? level[s->fcr >> 6] : 1;
}

static uint8_t iir_now(const struct serial *s)
{
	if (s->ier & IER_RDI && rx_ready(s))
		return s->rx_count >= rx_trigger(s) || s->mcr & MCR_LOOP ? IIR_RDI : IIR_CTI;
	if (s->ier & IER_THRI && s->thre_pending)
		return IIR_THRI;
	return IIR_NONE;
}

static void irq_update(struct serial *s)
{
	bool high = iir_now(s) != IIR_NONE && s->mcr & MCR_OUT2 && !(s->mcr & MCR_LOOP);

	if (high == s->irq_high)
		return;
	s->irq_high = high;
	s->irq(s->irq_opaque, high);
}

static void more_input(struct serial *s)
{
	if (s->starved && s->rx_count <= SERIAL_RX / 2) {
		s->starved = false;
		chardev_input_ready(s->cd);
	}
}

static uint8_t read_data(struct serial *s)
{
	uint8_t b = 0;

	if (s->lcr & LCR_DLAB)
		return s->divisor;
	if (!rx_ready(s))
		return 0;
	if (s->mcr & MCR_LOOP) {
		b = s->loop_byte;
		s->loop_byte = -1;
		return b;
	}
	b = s->rx[s->rx_head];
	s->rx_head = (s->rx_head + 1) % SERIAL_RX;
	s->rx_count--;
	more_input(s);
	return b;
}

static uint8_t read_ier(struct serial *s)
{
	return s->lcr & LCR_DLAB ? s->divisor >> 8 : s->ier;
}

static uint8_t read_iir(struct serial *s)
{
	uint8_t iir = iir_now(s);

	if (iir == IIR_THRI)
		s->thre_pending = false; /* reading names it, and so answers it */
	return iir | (s->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t read_lcr(struct serial *s)
{
	return s->lcr;
}

static uint8_t read_mcr(struct serial *s)
{
	return s->mcr;
}

static uint8_t read_lsr(struct serial *s)
{
	if (s->polls < POLLS_ARE_POLLING)
		s->polls++;
	return LSR_EMPTY | (rx_ready(s) ? LSR_DR : 0);
}

/* In loopback the four modem outputs are the four inputs. */
static uint8_t read_msr(struct serial *s)
{
	if (!(s->mcr & MCR_LOOP))
		return MSR_IDLE;
	return (s->mcr & MCR_RTS ? 0x10 : 0) | (s->mcr & MCR_DTR ? 0x20 : 0) |
	       (s->mcr & MCR_OUT1 ? 0x40 : 0) | (s->mcr & MCR_OUT2 ? 0x80 : 0);
}

static uint8_t read_scr(struct serial *s)
{
	return s->scr;
}

static void write_data(struct serial *s, uint8_t v)
{
	if (s->lcr & LCR_DLAB) {
		s->divisor = (s->divisor & 0xff00) | v;
		return;
	}
	s->thre_pending = true;
	if (s->mcr & MCR_LOOP)
		s->loop_byte = v;
	else
		chardev_write(s->cd, &v, 1);
}

static void write_ier(struct serial *s, uint8_t v)
{
	if (s->lcr & LCR_DLAB) {
		s->divisor = (s->divisor & 0xff) | v << 8;
		return;
	}
	if (v & ~s->ier & IER_THRI)
		s->thre_pending = true;
	s->ier = v & IER_MASK;
}

static void write_fcr(struct serial *s, uint8_t v)
{
	s->fcr = v & FCR_ENABLE ? v & FCR_KEPT : 0;
	if (v & FCR_CLEAR_RX)
		s->loop_byte = -1;
}

static void write_lcr(struct serial *s, uint8_t v)
{
	s->lcr = v;
}

static void write_mcr(struct serial *s, uint8_t v)
{
	s->mcr = v & MCR_MASK;
	if (!(v & MCR_LOOP)) {
		s->loop_byte = -1;
		s->rts_seen |= v & MCR_RTS;
	}
}

static void write_scr(struct serial *s, uint8_t v)
{
	s->scr = v;
}

static const struct {
	uint8_t (*read)(struct serial *s);
	void (*write)(struct serial *s, uint8_t v);
} regs[REGS] = {
	[REG_DATA] = { read_data, write_data },
	[REG_IER] = { read_ier, write_ier },
	[REG_IIR] = { read_iir, write_fcr },
	[REG_LCR] = { read_lcr, write_lcr },
	[REG_MCR] = { read_mcr, write_mcr },
	[REG_LSR] = { read_lsr, NULL },
	[REG_MSR] = { read_msr, NULL },
	[REG_SCR] = { read_scr, write_scr },
};

static void serial_read(void *opaque, uint64_t off, void *data, unsigned int len)
{
	struct serial *s = opaque;
	uint8_t *p = data;

	pthread_mutex_lock(&s->lock);
	for (unsigned int i = 0; i < len; i++) {
		if (off + i != REG_LSR && !(s->ier & IER_RDI))
			s->polls = off + i == REG_DATA ? s->polls : 0;
		p[i] = regs[off + i].read(s);
	}
	irq_update(s);
	pthread_mutex_unlock(&s->lock);
}

static void serial_write(void *opaque, uint64_t off, const void *data, unsigned int len)
{
	struct serial *s = opaque;
	const uint8_t *p = data;

	pthread_mutex_lock(&s->lock);
	for (unsigned int i = 0; i < len; i++) {
		s->polls = 0;
		if (regs[off + i].write)
			regs[off + i].write(s, p[i]);
	}
	irq_update(s);
	pthread_mutex_unlock(&s->lock);
}

static size_t serial_input(void *opaque, const void *buf, size_t len)
{
	struct serial *s = opaque;
	const uint8_t *p = buf;
	size_t n = 0;

	pthread_mutex_lock(&s->lock);
	while (n < len && s->rx_count < SERIAL_RX)
		s->rx[(s->rx_head + s->rx_count++) % SERIAL_RX] = p[n++];
	s->starved |= n < len;
	irq_update(s);
	pthread_mutex_unlock(&s->lock);
	return n;
}

static const struct bus_ops serial_ops = { .read = serial_read, .write = serial_write };
static const struct chardev_client serial_client = { .input = serial_input };

int serial_init(struct serial *s, struct bus *bus, uint16_t port, struct chardev *cd,
		void (*irq)(void *opaque, bool high), void *opaque)
{
	memset(s, 0, sizeof(*s));
	s->cd = cd;
	s->irq = irq;
	s->irq_opaque = opaque;
	s->divisor = 12; /* 9600 */
	s->loop_byte = -1;
	pthread_mutex_init(&s->lock, NULL);
	chardev_attach(cd, &serial_client, s);
	return bus_add(bus, BUS_PORT, port, REGS, &serial_ops, s);
}

void serial_fini(struct serial *s)
{
	pthread_mutex_destroy(&s->lock);
}
