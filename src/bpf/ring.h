/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The ring buffer, through which records come as things happen. */
#ifndef SOCKLEAK_RING_H
#define SOCKLEAK_RING_H

#include "read.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} ring SEC(".maps");

const volatile __u64 wakeup_bytes = 1 << 20; /* wake the reader when so much waits in the ring */

/* Records that found no room in the ring. */
__u64 lost = 0;

/*
 * A wake-up for each record would cost ten times what the rest of the program
 * does. The reader reads on its own timer; it is woken only when the ring
 * fills faster than that.
 */
static __always_inline __u64 wakeup(void)
{
	if (bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) >= wakeup_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

static __always_inline void send(struct transition_record *record)
{
	if (bpf_ringbuf_output(&ring, record, sizeof(*record), wakeup()))
		__sync_fetch_and_add(&lost, 1);
}

#endif
