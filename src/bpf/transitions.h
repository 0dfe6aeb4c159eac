/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Changes of state, as they happen. */
#ifndef SOCKLEAK_TRANSITIONS_H
#define SOCKLEAK_TRANSITIONS_H

#include "read.h"
#include <bpf/bpf_tracing.h>

#define PF_EXITING 0x00000004
#define PF_KTHREAD 0x00200000

/* Whether the kernel has a helper. Without it, the verifier drops the branch as dead. */
#define HAS_HELPER(name) bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_##name)

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} ring SEC(".maps");

const volatile __u32 transitions_of = 1 << TCP_CLOSE_WAIT; /* which states' edges are emitted */
const volatile __u64 wakeup_bytes = 1 << 20; /* wake the reader when so much waits in the ring */

/*
 * A wake-up for each record would cost ten times what the rest of the program
 * does. The reader comes by on its own timer; it is woken only when the ring
 * fills faster than that.
 */
static __always_inline __u64 wakeup(void)
{
	if (bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) >= wakeup_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

/*
 * Who made the transition? Only these are made by the task that runs; all others
 * by a packet or a timer, under whatever task was interrupted. A shutdown of both
 * directions precedes CLOSE when close() leads there, and never when a RST does.
 */
static __always_inline bool made_by_current(int oldstate, int newstate, __u16 flags)
{
	if (oldstate == TCP_CLOSE)
		return newstate == TCP_SYN_SENT;
	if (oldstate != TCP_CLOSE_WAIT)
		return false;
	return newstate == TCP_LAST_ACK || (newstate == TCP_CLOSE && flags & SOCK_SHUT_BOTH);
}

/*
 * With the edges of CLOSE_WAIT goes the end of a connection that both sides have shut
 * down, while its descriptor is open: no close() will ever be seen of that.
 */
static __always_inline bool is_wanted(int oldstate, int newstate, __u16 flags)
{
	if (in_set(transitions_of, oldstate) || in_set(transitions_of, newstate))
		return true;
	return newstate == TCP_CLOSE && in_set(transitions_of, TCP_CLOSE_WAIT) &&
	       (flags & (SOCK_PEER_CLOSED | SOCK_HAS_FILE | SOCK_ORPHAN)) ==
		       (SOCK_PEER_CLOSED | SOCK_HAS_FILE);
}

static __always_inline void emit_transition(struct tcp_sock *tp, bool known, int oldstate,
					    int newstate, __u16 flags)
{
	struct transition_record *record;

	if (!is_wanted(oldstate, newstate, flags))
		return;
	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		count_lost(1);
		return;
	}
	__builtin_memset(record, 0, sizeof(*record));
	record->kind = RECORD_TRANSITION;
	record->sock = (__u64)tp;
	record->ktime = bpf_ktime_get_ns();
	record->oldstate = oldstate;
	record->newstate = newstate;
	record->sock_flags = flags;
	record->err = READ(known, tp, SK.sk_err);
	read_conn(tp, known, &record->conn);
	record->conn.sport = read_sport(tp, known);
	if (made_by_current(oldstate, newstate, flags)) {
		struct task_struct *task = (struct task_struct *)bpf_get_current_task();
		unsigned int task_flags = BPF_CORE_READ(task, flags);

		/* A kernel thread that puts the last reference acts for somebody else. */
		if (!(task_flags & PF_KTHREAD)) {
			record->flags = ACTOR | (task_flags & PF_EXITING ? ACTOR_EXITING : 0);
			record->tgid = visible_tgid(task, false);
			BPF_CORE_READ_STR_INTO(&record->comm, task, group_leader, comm);
		}
	}
	bpf_ringbuf_submit(record, wakeup());
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_set_state, struct tcp_sock *sk, int oldstate, int newstate)
{
	/* Most transitions end here. (What has no struct socket has no descriptor.) */
	if (!in_set(transitions_of, oldstate) && !in_set(transitions_of, newstate) &&
	    (newstate != TCP_CLOSE || !sk->SK.sk_socket))
		return 0;
	if (sk->SK.sk_protocol == IPPROTO_MPTCP) {
		emit_transition(sk, false, oldstate, newstate, read_flags(sk, true) | SOCK_MPTCP);
	} else if (sk->SK.sk_protocol != IPPROTO_TCP) {
		return 0;
	} else if (HAS_HELPER(skc_to_tcp_sock)) { /* Since 5.9 (478cfbdf5f13). */
		struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

		if (tp)
			emit_transition(tp, true, oldstate, newstate, read_tcp_flags(tp, true));
	} else {
		emit_transition(sk, false, oldstate, newstate, read_tcp_flags(sk, false));
	}
	return 0;
}

#endif
