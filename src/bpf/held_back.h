/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Records that wait for what comes next. Most sockets leave CLOSE_WAIT within a moment, and most that a
 * program shuts down end within one: a table need not hear of them. So the record of a socket that
 * enters is held back until user space takes it; if the socket leaves before that, it is forgotten.
 * For a connection that passes through both, this saves 0.8 us of 17 us in the programs, and 0.5 us in
 * user space (6.18). Beside connections that come and go at full speed, it also keeps the ring from
 * filling faster than user space can read.
 */
#ifndef SOCKLEAK_HELD_BACK_H
#define SOCKLEAK_HELD_BACK_H

#include "read.h"
#include "ring.h"

const volatile __u32 transitions_of = 1 << TCP_CLOSE_WAIT; /* the states whose edges are reported */

/*
 * Set for a table. Then records are held back; a socket that leaves these states is reported by its
 * address alone, and who made it change only where that is needed: see follow().
 */
const volatile bool in_brief = false;

#define HELD_BACK_MAX 4096
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, HELD_BACK_MAX);
	__type(key, __u64); /* struct sock * */
	__type(value, struct transition_record);
} held_back SEC(".maps");

/*
 * The ends in good order of sockets whose descriptors are open. No event tells that a program closes
 * such a socket: the entries stay until user space takes them, and are apart from those above, so that
 * they do not take their room. An end for which there is no room is not dated; a scan finds it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, HELD_BACK_MAX);
	__type(key, __u64); /* struct sock * */
	__type(value, struct transition_record);
} ended SEC(".maps");

/* Sends what is held back of a socket, before any other record of it. */
static __always_inline void send_held_back(struct tcp_sock *sk)
{
	__u64 key = (__u64)sk;
	struct transition_record *entry = bpf_map_lookup_elem(&held_back, &key);

	if (!entry)
		return;
	send(entry);
	bpf_map_delete_elem(&held_back, &key);
}

/* Forgets what is held back of a socket. Returns whether there was anything. */
static __always_inline bool forget(struct tcp_sock *sk)
{
	__u64 key = (__u64)sk;

	return !bpf_map_delete_elem(&held_back, &key);
}

/*
 * Holds a record back, and returns true; unless user space has to hear of it, as of a transition out of
 * the states that it follows, and of a reset.
 */
static __always_inline bool hold_back(struct tcp_sock *sk, struct transition_record *record)
{
	if (in_set(transitions_of, record->oldstate))
		return false;
	if (record->newstate != TCP_CLOSE)
		return !bpf_map_update_elem(&held_back, &record->sock, record, BPF_ANY);
	if (record->err)
		return false;
	forget(sk);
	bpf_map_update_elem(&ended, &record->sock, record, BPF_ANY);
	return true;
}

/*
 * For a scan: reports a socket that it has read, so what is held back of it is sent first, and that it
 * leaves will be told. Returns false where it has left already. One that is just about to, on another
 * CPU, may stay in the table until the next scan.
 */
static __always_inline bool is_still(struct tcp_sock *sk, bool known, __u8 state)
{
	if (!in_brief || !in_set(transitions_of, state))
		return true;
	send_held_back(sk);
	return READ(known, sk, SKC.skc_state) == state;
}

#endif
