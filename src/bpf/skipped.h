/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Transitions that the kernel does not show to a program. While a program is interrupted, the kernel
 * skips it for all else that happens on that CPU (since 6.1, 05b24ff9b2cf). So there are two: on_set_state
 * notes each transition that it is given, and on_skipped, which the kernel calls right after it,
 * does the work for those that are not noted. An interrupt of one of them finds the other at rest.
 */
#ifndef SOCKLEAK_SKIPPED_H
#define SOCKLEAK_SKIPPED_H

#include "read.h"

struct given {
	__u64 last; /* the last transition that on_set_state was given on this CPU, as a note_of() */
} __attribute__((aligned(64)));

/* On a host with more CPUs, two share a place. */
#define MAX_CPUS 1024
struct given given[MAX_CPUS] = {};

/* Transitions that on_set_state was not given, and on_skipped was. */
__u64 recovered = 0;

/* In a note: on_set_state is at work on it. */
#define RUNNING 16

/* Names a transition in flight: its socket makes no other meanwhile, and its address ends in zeros. */
static __always_inline __u64 note_of(struct tcp_sock *sk, int newstate)
{
	return (__u64)sk + (newstate & 15);
}

static __always_inline struct given *given_here(void)
{
	return &given[bpf_get_smp_processor_id() & (MAX_CPUS - 1)];
}

/*
 * For on_skipped: returns whether the transition was skipped. Between the two programs, a task's
 * transition can be interrupted by others; not a softirq's. It is skipped only where another task
 * is preempted in on_set_state (since 7.0).
 */
static __always_inline bool was_skipped(struct tcp_sock *sk, int newstate)
{
	if (given_here()->last == note_of(sk, newstate))
		return false;
	return !sk->SK.sk_lock.owned || given_here()->last & RUNNING;
}

#endif
