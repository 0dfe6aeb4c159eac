/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Which sockets a scan reports: those in the watched states, and every candidate for a verdict.
 * src/sock/leak.rs has a twin of each predicate, of the same name, and decides what the verdict is.
 * These here keep healthy sockets in the kernel, so they read as little as possible.
 */
#ifndef SOCKLEAK_CANDIDATE_H
#define SOCKLEAK_CANDIDATE_H

#include "read.h"

#define HALF_SHUT (1 << TCP_FIN_WAIT1 | 1 << TCP_FIN_WAIT2 | 1 << TCP_CLOSING | 1 << TCP_LAST_ACK)

/* Twin: is_over(). */
static __always_inline bool is_over(__u8 state)
{
	return in_set(1 << TCP_CLOSE_WAIT | 1 << TCP_CLOSE, state);
}

/* Twin: is_half_shut(), which leaves out the kernel's own sockets, too. */
static __always_inline bool is_half_shut(struct tcp_sock *tp, bool known, __u8 state)
{
	return in_set(HALF_SHUT, state) && !is_orphan(tp, known);
}

/* Twin: is_full(). */
static __always_inline bool is_full(struct tcp_sock *tp, bool known)
{
	return READ(known, tp, rcv_nxt) != READ(known, tp, copied_seq) &&
	       receive_window(tp, known) < READ(known, tp, inet_conn.icsk_ack.rcv_mss);
}

/* Twin: is_unanswered(). */
static __always_inline bool is_unanswered(struct tcp_sock *tp, bool known)
{
	return READ(known, tp, inet_conn.icsk_retransmits) |
	       READ(known, tp, inet_conn.icsk_probes_out);
}

/* Twin: is_unaccepted(), which leaves out the kernel's own sockets, too. */
static __always_inline bool is_unaccepted(struct tcp_sock *tp, bool known)
{
	return !READ(known, tp, SK.sk_socket) && READ(known, tp, rcv_nxt) &&
	       !is_orphan(tp, known) && !is_subflow(tp, known);
}

/*
 * Twin: is_candidate(). MPTCP keeps a subflow that has ended, and sends again on another what one
 * does not deliver: of subflows, only the states before CLOSE count.
 */
static __always_inline bool is_candidate(struct tcp_sock *tp, bool known, __u8 state)
{
	if (state == TCP_ESTABLISHED)
		return (is_full(tp, known) || is_unanswered(tp, known)) && !is_subflow(tp, known);
	if (state == TCP_CLOSE)
		return !is_subflow(tp, known);
	return is_over(state) || is_half_shut(tp, known, state);
}

/* Decides whether a socket that a descriptor refers to is reported. */
static __always_inline bool is_wanted(struct tcp_sock *tp, bool known)
{
	__u8 state = READ(known, tp, SKC.skc_state);

	return in_set(watched_states, state) || is_candidate(tp, known, state);
}

/* Decides whether an MPTCP connection is reported. It has none of TCP's fields. */
static __always_inline bool is_wanted_msk(struct tcp_sock *msk)
{
	__u8 state = BPF_CORE_READ(msk, SKC.skc_state);

	return in_set(watched_states, state) || is_over(state) || is_half_shut(msk, false, state);
}

/*
 * Decides by the state alone whether a socket with a struct socket is summed. Of these the walk through
 * the hash table sums the addresses, and user space sums those that it knows to be held: both
 * decide by this, since all else may change between a scan's passes.
 */
static __always_inline bool is_summed(__u8 state)
{
	return in_set(watched_states | 1 << TCP_CLOSE_WAIT | HALF_SHUT, state);
}

/* Decides whether a socket in the hash table, no request and no TIME_WAIT, is reported or summed. */
static __always_inline bool is_wanted_in_hash(struct tcp_sock *tp, bool known, __u8 state)
{
	if (in_set(watched_states, state) || state == TCP_CLOSE_WAIT)
		return true;
	if (!in_set(1 << TCP_ESTABLISHED | HALF_SHUT, state))
		return false;
	if (READ(known, tp, SK.sk_socket))
		return is_summed(state);
	return is_unaccepted(tp, known);
}

#endif
