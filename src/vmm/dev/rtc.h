/* SPDX-License-Identifier: MIT */
/* rtc.h - the CMOS clock of a PC: Motorola's MC146818A, with 128 bytes of memory. */
#ifndef VMM_DEV_RTC_H
#define VMM_DEV_RTC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/bus.h"
#include "vmm/loop.h"

struct rtc {
	pthread_mutex_t lock;
	struct loop *loop;
	struct loop_source timer; /* timerfd of CLOCK_REALTIME: the next interrupt */
	void (*irq)(void *opaque, bool high);
	void *irq_opaque;
	uint8_t index;
	uint8_t cmos[128];
	int64_t offset; /* seconds that the guest's clock is ahead of the host's */
	int64_t last_update; /* guest second up to which update and alarm were raised */
	uint64_t next_periodic; /* ns of CLOCK_REALTIME; 0: off */
};

/**
 * rtc_init - put the clock at ports 0x70 and 0x71, at the host's time in UTC.
 * @irq: drives its interrupt wire; called with the clock's lock held.
 * Returns 0 or -errno.
 */
int rtc_init(struct rtc *r, struct bus *bus, struct loop *loop, void (*irq)(void *opaque, bool high),
	     void *opaque);
void rtc_fini(struct rtc *r);

#endif
