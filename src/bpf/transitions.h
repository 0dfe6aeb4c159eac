/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Changes of state, as they happen. */
#ifndef SOCKLEAK_TRANSITIONS_H
#define SOCKLEAK_TRANSITIONS_H

#include "read.h"
#include <bpf/bpf_tracing.h>

#define PF_EXITING 0x00000004
#define PF_KTHREAD 0x00200000
#define SHUT_BOTH (SOCK_SHUT_SEND | SOCK_SHUT_RECEIVE)

/* Whether the kernel has a helper. Without it, the verifier drops the branch as dead. */
#define HAS_HELPER(name) bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_##name)

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} ring SEC(".maps");

const volatile __u32 transitions_of = 1 << TCP_CLOSE_WAIT; /* which states' edges are emitted */
/*
 * Whether a connection has come to its end with its descriptor open. No close() will ever
 * be seen of that: only a scan can tell whether it is leaked. User space resets it.
 */
bool left_open = false;

/* Of what leaves these states tell its address alone; and of nothing, who made it change. */
const volatile bool in_brief = false;
const volatile __u64 wakeup_bytes = 1 << 20; /* wake the reader when so much waits in the ring */

/*
 * Most sockets leave these states again within a moment, and a table need not know. So, in brief,
 * what enters waits here, and is told only if it stays: if it leaves, it is forgotten. User space
 * has to come by from time to time, and empties all places. A socket whose place another one has
 * is told of at once.
 */
struct passing {
	struct transition_record record; /* at the time 0 if it has left */
	__u64 claims;			 /* of this place; the first has it */
};
#define PASSING_BITS 12
struct passing passing[1 << PASSING_BITS] = {};

/*
 * Whether what enters is to wait. Not while user space empties the places; nor while a scan runs,
 * which would see it, and nobody would hear that it has left. User space sets it.
 */
bool hold_back = false;

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
	return newstate == TCP_LAST_ACK || (newstate == TCP_CLOSE && (flags & SHUT_BOTH) == SHUT_BOTH);
}

/* Both sides have shut it down, and its descriptor is open. */
static __always_inline bool is_left_open(struct tcp_sock *sk)
{
	/* Most have been closed. */
	if (!sk->SK.sk_socket)
		return false;
	return (read_flags(sk, true) & (SOCK_PEER_CLOSED | SOCK_HAS_FILE | SOCK_ORPHAN)) ==
	       (SOCK_PEER_CLOSED | SOCK_HAS_FILE);
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

static __always_inline void send(struct transition_record *record)
{
	if (bpf_ringbuf_output(&ring, record, sizeof(*record), wakeup()))
		count_lost(1);
}

static __always_inline struct passing *place_of(struct tcp_sock *sk)
{
	/* With a pointer the verifier lets us do little; the difference of two is a number. */
	__u64 number = (__u64)sk - (__u64)passing;

	return &passing[number * 0x9E3779B97F4A7C15 >> (64 - PASSING_BITS)];
}

static __always_inline struct transition_record *waiting(struct tcp_sock *sk)
{
	struct transition_record *record = &place_of(sk)->record;

	return record->sock == (__u64)sk && record->ktime ? record : NULL;
}

/* Before anything else is told of a socket. */
static __always_inline void send_waiting(struct tcp_sock *sk)
{
	struct transition_record *record = waiting(sk);

	if (record) {
		struct transition_record entry = *record;

		record->ktime = 0;
		send(&entry);
	}
}

static __always_inline void emit_transition(struct tcp_sock *tp, bool known, int oldstate,
					    int newstate, __u16 flags)
{
	struct transition_record record = {};

	begin_transition(&record, tp, oldstate, newstate);
	record.ktime = bpf_ktime_get_ns();
	describe(&record, tp, known, flags);
	if (!in_brief && made_by_current(oldstate, newstate, flags)) {
		struct task_struct *task = (struct task_struct *)bpf_get_current_task();
		unsigned int task_flags = BPF_CORE_READ(task, flags);

		/* A kernel thread that puts the last reference acts for somebody else. */
		if (!(task_flags & PF_KTHREAD)) {
			record.flags = ACTOR | (task_flags & PF_EXITING ? ACTOR_EXITING : 0);
			record.tgid = visible_tgid(task, false);
			BPF_CORE_READ_STR_INTO(&record.comm, task, group_leader, comm);
		}
	}
	if (in_brief)
		send_waiting(tp);
	send(&record);
}

/* Apart from follow(), where most transitions end: this needs many registers. */
static __noinline int tell(struct tcp_sock *sk, int oldstate, int newstate)
{
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

static __noinline int tell_in_brief(struct tcp_sock *sk, int oldstate, int newstate)
{
	struct transition_record record = {};

	send_waiting(sk);
	begin_transition(&record, sk, oldstate, newstate);
	record.ktime = bpf_ktime_get_ns();
	send(&record);
	return 0;
}

/* Returns whether it is the socket's. */
static __always_inline bool claim(struct passing *place, struct tcp_sock *sk)
{
	if (place->record.sock == (__u64)sk)
		return true;
	if (place->claims)
		return false;
	/* Of two at the same time none has it, or the first. Kernels before 5.12 have no better. */
	__sync_fetch_and_add(&place->claims, 1);
	return *(volatile __u64 *)&place->claims == 1;
}

/*
 * Returns whether it waits now. Without a record on the stack: with so much on it, a program is
 * given another one (since 6.13), which is in no cache.
 */
static __noinline int let_wait(struct tcp_sock *sk, int oldstate, int newstate)
{
	struct passing *place = place_of(sk);
	struct transition_record *record = &place->record;
	struct tcp_sock *tp;

	if (!HAS_HELPER(skc_to_tcp_sock))
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp || !claim(place, sk))
		return 0;
	begin_transition(record, sk, oldstate, newstate);
	describe(record, tp, true, read_tcp_flags(tp, true));
	/*
	 * A segment that arrives is stamped; to ask for the time again is dear. What Fast Open
	 * brings with the first one, from SYN_RECV on, need not be.
	 */
	if (oldstate == TCP_ESTABLISHED && newstate == TCP_CLOSE_WAIT)
		record->ktime = tp->tcp_mstamp * 1000;
	else
		record->ktime = bpf_ktime_get_ns();
	return 1;
}

static __noinline int forget(struct tcp_sock *sk)
{
	struct transition_record *record = waiting(sk);

	if (!record)
		return 0;
	record->ktime = 0;
	return 1;
}

static __always_inline void follow(struct tcp_sock *sk, int oldstate, int newstate)
{
	bool leaves = in_set(transitions_of, oldstate);
	bool enters = in_set(transitions_of, newstate);

	if (newstate == TCP_CLOSE && in_set(transitions_of, TCP_CLOSE_WAIT) && !left_open &&
	    is_left_open(sk))
		left_open = true;
	/* Most transitions end here. */
	if (!leaves && !enters)
		return;
	if (in_brief && hold_back && !leaves && let_wait(sk, oldstate, newstate))
		return;
	if (!in_brief || enters || newstate == TCP_CLOSE)
		tell(sk, oldstate, newstate);
	else if (!hold_back || !forget(sk))
		tell_in_brief(sk, oldstate, newstate);
}

/*
 * While a program is interrupted, the kernel skips it for all else that happens on that CPU
 * (since 6.1, 05b24ff9b2cf). So there are two: on_set_state notes what it is given, and
 * on_skipped, which is called right after it, does the work for what is not noted. What
 * interrupts one of them finds the other at rest.
 */
struct given {
	__u64 last; /* to on_set_state, on this CPU: note_of() it */
} __attribute__((aligned(64)));

/* Of more CPUs than this, two share one. */
#define MAX_CPUS 1024
struct given given[MAX_CPUS] = {};

/* Transitions that on_set_state was not given, and on_skipped was. */
__u64 made_good = 0;

/* In a note: on_set_state is at it. */
#define RUNNING 16

/* Of a transition in flight: its socket makes no other meanwhile. A socket's address ends in zeros. */
static __always_inline __u64 note_of(struct tcp_sock *sk, int newstate)
{
	return (__u64)sk + (newstate & 15);
}

static __always_inline struct given *given_here(void)
{
	return &given[bpf_get_smp_processor_id() & (MAX_CPUS - 1)];
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

static __noinline int make_good(struct tcp_sock *sk, int oldstate, int newstate)
{
	/*
	 * Between the two programs, a task's transition can be interrupted by others; not a
	 * softirq's. It is skipped only where another task is preempted in on_set_state (since 7.0).
	 */
	if (sk->SK.sk_lock.owned && !(given_here()->last & RUNNING))
		return 0;
	__sync_fetch_and_add(&made_good, 1);
	follow(sk, oldstate, newstate);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_skipped, struct tcp_sock *sk, int oldstate, int newstate)
{
	if (given_here()->last != note_of(sk, newstate))
		make_good(sk, oldstate, newstate);
	return 0;
}

#endif
