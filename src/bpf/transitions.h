/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Changes of state, as they happen. */
#ifndef SOCKLEAK_TRANSITIONS_H
#define SOCKLEAK_TRANSITIONS_H

#include "held_back.h"
#include "read.h"
#include "skipped.h"
#include <bpf/bpf_tracing.h>

#define SEND_SHUTDOWN 2
#define CLOSES_FIRST (1 << TCP_FIN_WAIT1 | 1 << TCP_FIN_WAIT2 | 1 << TCP_CLOSING)
#define SHUT_BOTH (SOCK_SHUT_SEND | SOCK_SHUT_RECEIVE)

/*
 * Set when a connection comes to its end with its descriptor open. No close() will ever
 * be seen of that: only a scan can tell whether it is leaked. User space resets it.
 */
bool left_open = false;

/*
 * True if the current task made the transition. All others are made by a packet or a timer, under
 * whatever task was interrupted. A shutdown of both directions precedes CLOSE when close() leads
 * there, and never when a RST does.
 */
static __always_inline bool made_by_current(int oldstate, int newstate, __u16 flags)
{
	if (oldstate == TCP_CLOSE)
		return newstate == TCP_SYN_SENT;
	if (oldstate != TCP_CLOSE_WAIT)
		return false;
	return newstate == TCP_LAST_ACK || (newstate == TCP_CLOSE && (flags & SHUT_BOTH) == SHUT_BOTH);
}

/* shutdown(SHUT_WR), where a close() would have shut both sides; by the task that has the lock. */
static __always_inline bool is_half_shutdown(struct tcp_sock *sk)
{
	return sk->SK.sk_shutdown == SEND_SHUTDOWN && sk->SK.sk_lock.owned;
}

static __always_inline void begin_transition(struct transition_record *record, struct tcp_sock *sk,
					     int oldstate, int newstate)
{
	record->kind = RECORD_TRANSITION;
	record->sock = (__u64)sk;
	record->oldstate = oldstate;
	record->newstate = newstate;
}

static __always_inline void describe(struct transition_record *record, struct tcp_sock *tp,
				     bool known, __u16 flags)
{
	record->sock_flags = flags;
	record->err = READ(known, tp, SK.sk_err);
	read_conn(tp, known, &record->conn);
	record->conn.sport = read_sport(tp, known);
	if (!(flags & SOCK_MPTCP))
		read_progress(tp, known, &record->progress);
}

static __always_inline __u32 current_tgid(void)
{
	if (pid_namespace == PROC_PID_INIT_INO)
		return bpf_get_current_pid_tgid() >> 32;
	return visible_tgid((struct task_struct *)bpf_get_current_task(), false);
}

static __always_inline void add_actor(struct transition_record *record)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	unsigned int flags = BPF_CORE_READ(task, flags);

	/* A kernel thread that puts the last reference acts for somebody else. */
	if (flags & PF_KTHREAD)
		return;
	record->flags = ACTOR | (flags & PF_EXITING ? ACTOR_EXITING : 0);
	record->tgid = visible_tgid(task, false);
	BPF_CORE_READ_STR_INTO(&record->comm, task, group_leader, comm);
}

static __always_inline void send_transition(struct tcp_sock *tp, bool known, int oldstate,
					    int newstate, __u16 flags)
{
	struct transition_record record = {};

	begin_transition(&record, tp, oldstate, newstate);
	record.ktime = bpf_ktime_get_ns();
	describe(&record, tp, known, flags);
	/* In brief, FIN_WAIT1 is reported for its actor's sake, by its number; see follow(). */
	if (in_brief && newstate == TCP_FIN_WAIT1 && (flags & SHUT_BOTH) == SOCK_SHUT_SEND) {
		record.flags = ACTOR;
		record.tgid = current_tgid();
	} else if (!in_brief && made_by_current(oldstate, newstate, flags)) {
		add_actor(&record);
	}
	if (in_brief) {
		if (hold_back(tp, &record))
			return;
		send_held_back(tp);
	}
	send(&record);
}

/* Apart from follow(), where most transitions end: this needs many registers. */
static __noinline int report_transition(struct tcp_sock *sk, int oldstate, int newstate)
{
	if (sk->SK.sk_protocol == IPPROTO_MPTCP) {
		send_transition(sk, false, oldstate, newstate, read_flags(sk, true) | SOCK_MPTCP);
	} else if (sk->SK.sk_protocol != IPPROTO_TCP) {
		return 0;
	} else if (HAS_HELPER(skc_to_tcp_sock)) { /* Since 5.9 (478cfbdf5f13). */
		struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

		if (tp)
			send_transition(tp, true, oldstate, newstate, read_tcp_flags(tp, true));
	} else {
		send_transition(sk, false, oldstate, newstate, read_tcp_flags(sk, false));
	}
	return 0;
}

/* Reports a socket that leaves the states by its address alone. */
static __noinline int report_leaving(struct tcp_sock *sk, int oldstate, int newstate)
{
	struct transition_record record = {};

	begin_transition(&record, sk, oldstate, newstate);
	record.ktime = bpf_ktime_get_ns();
	send(&record);
	return 0;
}

/* How a connection has come to its end. A connect() that fails has not made one. */
enum end {
	CLOSED, /* its program has closed it, or will never hear of it */
	RESET, /* from outside: an error waits for the program, which has a file, or has not accepted it */
	LEFT_OPEN, /* in good order, as far as anybody can tell; its descriptor is open */
};

/* Beside CLOSED, where nearly all end: this needs more of the socket. */
static __always_inline enum end end_of(struct tcp_sock *sk)
{
	struct socket *socket = sk->SK.sk_socket;
	bool both = (sk->SK.sk_shutdown & 3) == 3;

	if (is_orphan(sk, true) || (socket && !socket->file))
		return CLOSED;
	/* A close() shuts both sides first; the RST to a program that did so itself looks the same. */
	if (sk->SK.sk_err && !both)
		return RESET;
	if (socket && has_flag(sk, true, FLAG(SOCK_DONE)))
		return LEFT_OPEN;
	return CLOSED;
}

/* Returns whether the socket's end was reported. A record of one left open dates it exactly. */
static __noinline int report_end(struct tcp_sock *sk, int oldstate)
{
	enum end end = end_of(sk);

	if (end == CLOSED)
		return 0;
	report_transition(sk, oldstate, TCP_CLOSE);
	if (end == LEFT_OPEN)
		left_open = true;
	return 1;
}

/*
 * Reports the edges of the states that user space asked for. In brief, for a table of leaks, it
 * also reports what becomes a leak in other ways: a connection that is destroyed while its program
 * has it, and a program that shuts down its sending side, which it may do to pass the end of
 * another connection on.
 */
static __always_inline void follow(struct tcp_sock *sk, int oldstate, int newstate)
{
	bool leaves, enters;

	if (in_brief && newstate == TCP_CLOSE) {
		/* Most have neither: their programs have closed them. */
		if ((sk->SK.sk_socket || sk->SK.sk_err) && oldstate != TCP_SYN_SENT &&
		    report_end(sk, oldstate))
			return;
	} else if (in_brief && newstate == TCP_FIN_WAIT1 && is_half_shutdown(sk)) {
		report_transition(sk, oldstate, newstate);
		return;
	}
	leaves = in_set(transitions_of, oldstate);
	enters = in_set(transitions_of, newstate);
	/* The end of a socket that may have been shut down, and is held back. */
	if (in_brief && newstate == TCP_CLOSE && !leaves && !enters && in_set(CLOSES_FIRST, oldstate))
		forget(sk);
	/* Most transitions end here. */
	if (!leaves && !enters)
		return;
	if (in_brief && !enters && forget(sk))
		return;
	if (!in_brief || enters || newstate == TCP_CLOSE)
		report_transition(sk, oldstate, newstate);
	else
		report_leaving(sk, oldstate, newstate);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_set_state, struct tcp_sock *sk, int oldstate, int newstate)
{
	struct given *here = given_here();

	here->last = note_of(sk, newstate) + RUNNING;
	follow(sk, oldstate, newstate);
	here->last = note_of(sk, newstate);
	return 0;
}

static __noinline int recover(struct tcp_sock *sk, int oldstate, int newstate)
{
	if (!was_skipped(sk, newstate))
		return 0;
	__sync_fetch_and_add(&recovered, 1);
	follow(sk, oldstate, newstate);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_skipped, struct tcp_sock *sk, int oldstate, int newstate)
{
	if (given_here()->last != note_of(sk, newstate))
		recover(sk, oldstate, newstate);
	return 0;
}

#endif
