/* SPDX-License-Identifier: MIT */
/* serial.h - a 16550A UART (National's PC16550D data sheet). */
#ifndef VMM_DEV_SERIAL_H
#define VMM_DEV_SERIAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/bus.h"
#include "vmm/chardev.h"

#define SERIAL_RX 1024u /* bytes taken in advance of the guest's reading */

struct serial {
	pthread_mutex_t lock;
	struct chardev *cd;
	void (*irq)(void *opaque, bool high);
	void *irq_opaque;
	uint8_t ier, iir_fifo, lcr, mcr, scr, fcr;
	uint16_t divisor;
	bool thre_pending; /* the transmitter-empty interrupt is due */
	bool irq_high;
	bool rts_seen;	   /* the guest has raised RTS: from then on it is flow control */
	bool starved;	   /* input was refused: ask for more when there is room */
	unsigned int polls; /* reads of LSR in a row: a guest that polls for input */
	uint8_t rx[SERIAL_RX];
	unsigned int rx_head, rx_count;
	int loop_byte; /* loopback mode: the byte on its way, or -1 */
};

/**
 * serial_init - put a UART on the bus at @port and in front of @cd.
 * @irq: drives its interrupt wire; called with the UART's lock held.
 * Returns 0 or -errno of bus_add().
 */
int serial_init(struct serial *s, struct bus *bus, uint16_t port, struct chardev *cd,
		void (*irq)(void *opaque, bool high), void *opaque);
void serial_fini(struct serial *s);

#endif
