/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Sockets whose connection is over, from then on until they are closed. Whose they are shows only when
 * somebody closes them, so those of all processes are noted. One that is closed within the least age
 * costs no record.
 */
#ifndef SOCKLEAK_DEAD_H
#define SOCKLEAK_DEAD_H

#include "candidate.h"
#include "follow.h"
#include "read.h"
#include "ring.h"
#include "skipped.h"
#include "tree.h"
#include <bpf/bpf_tracing.h>

#define DEAD_MAX (1 << 18) /* user space has the last word */
#define NO_FD (-1)
#define STACK_SIZE (16 << 10) /* of a task in the kernel, on x86-64 before 5.15 */

/* A socket that is closed earlier after its death is no leak: ns. */
const volatile __u64 min_age = 50000000;
/* Set to note also what processes that exit hold, and is stranded. */
const volatile bool stranded_too = false;

struct dead {
	__u64 since; /* 0: it is not dead, and noted because a process exits that has it */
	struct conn conn;
	struct progress progress;
	__s32 fd; /* where the last process that has exited had it; NO_FD: none had it */
	__u32 holder; /* that process: the kernel's own number */
	bool unaccepted;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, DEAD_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64); /* struct sock * */
	__type(value, struct dead);
} dead SEC(".maps");

/* Dead sockets for which the map had no room. */
__u64 unnoted = 0;
/* Sockets that died less than the least age before their process began to exit. */
__u64 too_young = 0;

/* True if the last reference to a file has gone, so that it is being closed. */
static __always_inline bool is_released(struct file *file)
{
	struct file___before_6_13 *old = (void *)file;

	if (bpf_core_field_exists(file->f_ref))
		return (__s64)BPF_CORE_READ(file, f_ref.refcnt.counter) < 0;
	return !BPF_CORE_READ(old, f_count.counter);
}

/*
 * True if a socket that is about to enter CLOSE will be kept: by a file that is not being closed, or in
 * an accept queue. What a listener that is closed takes along has no error, and what is reset has one.
 */
static __always_inline bool is_kept(struct tcp_sock *sk)
{
	struct socket *socket = sk->SK.sk_socket;
	struct file *file;

	if (!socket)
		return !is_orphan(sk, true) && sk->SK.sk_err;
	file = socket->file;
	return file && !is_released(file);
}

/* Notes a socket that has died, or that a process that exits has. */
static __noinline int note_dead(struct tcp_sock *sk, __u64 since)
{
	struct dead new = { .since = since, .fd = NO_FD };
	__u64 key = (__u64)sk;

	read_conn(sk, false, &new.conn);
	new.conn.sport = read_sport(sk, false);
	read_progress(sk, false, &new.progress);
	new.unaccepted = !BPF_CORE_READ(sk, SK.sk_socket);
	if (bpf_map_update_elem(&dead, &key, &new, BPF_ANY))
		__sync_fetch_and_add(&unnoted, 1);
	return 0;
}

/* The system call that the current task is in; on other machines than x86 nobody knows. */
static __always_inline void read_call(struct dead_record *record)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct pt_regs *regs = NULL;

	record->call = -1;
	if (!bpf_core_field_exists(regs->orig_ax))
		return;
	if (HAS_HELPER(task_pt_regs)) /* Since 5.15 (dd6e10fbd9fb). */
		regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	else
		regs = BPF_CORE_READ(task, stack) + STACK_SIZE - bpf_core_type_size(struct pt_regs);
	record->call = BPF_CORE_READ(regs, orig_ax);
	record->args[0] = BPF_CORE_READ(regs, di);
	record->args[1] = BPF_CORE_READ(regs, si);
}

static __always_inline void begin_record(struct dead_record *record, __u32 kind, struct dead *dead,
					 struct tcp_sock *sk)
{
	__builtin_memset(record, 0, sizeof(*record));
	record->kind = kind;
	record->since = dead->since;
	record->before = dead->progress;
	record->conn = dead->conn;
	record->fd = dead->fd;
	read_sock(sk, false, &record->sock);
	record->sock.kind = RECORD_UNHELD;
}

static __always_inline void add_process(struct dead_record *record, struct task_struct *task,
					struct followed *process)
{
	record->tgid = visible_tgid(task, false);
	record->start_time = process->start_time;
	record->program = process->program;
	record->uid = BPF_CORE_READ(task, cred, euid.val);
	BPF_CORE_READ_STR_INTO(&record->comm, task, group_leader, comm);
}

static __always_inline void send_closed(struct tcp_sock *sk, struct dead *dead,
					struct task_struct *task, struct followed *process)
{
	__u32 flags = BPF_CORE_READ(task, flags);
	bool exiting = flags & PF_EXITING;
	struct dead_record *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);

	if (!record) {
		__sync_fetch_and_add(&lost, 1);
		return;
	}
	begin_record(record, FOLLOW_CLOSED, dead, sk);
	add_process(record, task, process);
	record->waited = waited_for_cpu(task);
	read_call(record);
	if (exiting)
		record->flags |= DEAD_EXITING;
	/* A reset one may have been accepted meanwhile: then close() leaves no trace of that. */
	if (dead->unaccepted && !BPF_CORE_READ(sk, SK.sk_socket) && dead->fd == NO_FD &&
	    (exiting || record->sock.state == TCP_CLOSE_WAIT))
		record->flags |= DEAD_UNACCEPTED;
	/* Another process may have had it elsewhere, and has exited. */
	if (!(flags & PF_KTHREAD) && dead->holder != (__u32)BPF_CORE_READ(task, tgid))
		record->fd = NO_FD;
	process->has_closed = true;
	bpf_ringbuf_submit(record, wakeup());
}

/*
 * The current task closes a dead socket: it is the closer in all ways that lead here. A kernel thread
 * puts the last reference for a process that has exited.
 */
static __noinline int close_dead(struct tcp_sock *sk)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct followed *process;
	struct dead *found;
	__u64 key = (__u64)sk, age;

	found = bpf_map_lookup_elem(&dead, &key);
	if (!found)
		return 0;
	process = followed_process(task);
	if (!process && BPF_CORE_READ(task, flags) & PF_KTHREAD && found->fd != NO_FD)
		process = bpf_map_lookup_elem(&followed, &found->holder);
	if (process) {
		age = bpf_ktime_get_ns() - found->since;
		if (age >= min_age)
			send_closed(sk, found, task, process);
		else if (process->exiting && found->since < process->exiting)
			__sync_fetch_and_add(&too_young, 1);
	}
	bpf_map_delete_elem(&dead, &key);
	return 0;
}

static __always_inline bool is_noted(struct tcp_sock *sk)
{
	__u64 key = (__u64)sk;

	return bpf_map_lookup_elem(&dead, &key);
}

static __always_inline int forget_dead(struct tcp_sock *sk)
{
	__u64 key = (__u64)sk;

	bpf_map_delete_elem(&dead, &key);
	return 0;
}

/* The end of a connection whose program keeps it. One that is noted already stays as old as it is. */
static __always_inline int enter_close(struct tcp_sock *sk, int oldstate)
{
	bool was_connected = oldstate != TCP_SYN_SENT && oldstate != TCP_LISTEN;
	bool is_over = sk->SK.sk_err || has_flag(sk, true, FLAG(SOCK_DONE));
	bool was_dead = in_set(1 << TCP_CLOSE_WAIT | 1 << TCP_LAST_ACK, oldstate);

	if (!is_kept(sk)) {
		/* A packet leads from these to CLOSE; whoever runs then has nothing to do with it. */
		if (in_set(1 << TCP_LAST_ACK | 1 << TCP_FIN_WAIT1 | 1 << TCP_CLOSING, oldstate))
			return forget_dead(sk);
		/* So does a RST; close() is at work on another CPU, and on_destroy will see it. */
		return sk->SK.sk_err ? 0 : close_dead(sk);
	}
	if (was_connected && is_over && !(was_dead && is_noted(sk)))
		return note_dead(sk, bpf_ktime_get_ns());
	return 0;
}

static __always_inline bool is_file_open(struct tcp_sock *sk)
{
	struct socket *socket = sk->SK.sk_socket;
	struct file *file = socket ? socket->file : NULL;

	return file && !is_released(file);
}

static __noinline int follow_dead(struct tcp_sock *sk, int oldstate, int newstate)
{
	if (sk->SK.sk_protocol != IPPROTO_TCP)
		return 0;
	if (newstate == TCP_CLOSE)
		return enter_close(sk, oldstate);
	if (newstate == TCP_CLOSE_WAIT)
		return note_dead(sk, bpf_ktime_get_ns());
	/* Its program connects it anew. */
	if (oldstate == TCP_CLOSE)
		return forget_dead(sk);
	/* A shutdown() leads from CLOSE_WAIT to LAST_ACK, too. */
	return is_file_open(sk) ? 0 : close_dead(sk);
}

/* Most transitions end here. */
static __always_inline bool may_concern(int oldstate, int newstate)
{
	return in_set(1 << TCP_CLOSE | 1 << TCP_CLOSE_WAIT, newstate) ||
	       in_set(1 << TCP_CLOSE | 1 << TCP_CLOSE_WAIT, oldstate) || stranded_too;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_set_state, struct tcp_sock *sk, int oldstate, int newstate)
{
	struct given *here = given_here();

	here->last = note_of(sk, newstate) + RUNNING;
	if (may_concern(oldstate, newstate))
		follow_dead(sk, oldstate, newstate);
	here->last = note_of(sk, newstate);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_skipped, struct tcp_sock *sk, int oldstate, int newstate)
{
	if (given_here()->last != note_of(sk, newstate) && was_skipped(sk, newstate)) {
		__sync_fetch_and_add(&recovered, 1);
		follow_dead(sk, oldstate, newstate);
	}
	return 0;
}

/* A socket that is closed in CLOSE makes no transition. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(on_destroy, struct tcp_sock *sk)
{
	close_dead(sk);
	seen_here()->destroyed = (__u64)sk;
	return 0;
}

/* Does nothing where on_destroy has done it. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(on_destroy_skipped, struct tcp_sock *sk)
{
	if (seen_here()->destroyed != (__u64)sk) {
		__sync_fetch_and_add(&recovered, 1);
		close_dead(sk);
	}
	return 0;
}

#endif
