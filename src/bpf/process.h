/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* A process, and what its descriptors refer to: what struct process_record says. */
#ifndef SOCKLEAK_PROCESS_H
#define SOCKLEAK_PROCESS_H

#include "read.h"

#define RLIMIT_NOFILE 7
#define TASK_STOPPED 4
#define TASK_TRACED 8

/* Set by user space; 0: it does not know how long a jiffy is, and no connection counts as idle. */
const volatile __u32 jiffies_per_hour = 0;

/*
 * The process whose files are being visited. One scan runs at a time, and an
 * iterator visits the files of a process one after the other.
 *
 * When its buffer is full, an iterator throws away what the program wrote for the
 * file at hand and shows that file again: so nothing here may change before the
 * last write for a file has succeeded.
 */
static struct {
	__u64 session;
	struct task_struct *task;
	struct files_struct *files;
	int tgid; /* the kernel's own number */
	bool holds; /* a record of this process names it */
	struct process_record record;
} visited;

static __always_inline bool leave_process(struct seq_file *seq, __u64 session)
{
	if (visited.session != session || !visited.holds)
		return true;
	return !bpf_seq_write(seq, &visited.record, sizeof(visited.record));
}

static __always_inline __u32 process_flags(struct task_struct *leader)
{
	struct task_struct___before_5_14 *old = (void *)leader;
	__u64 state = bpf_core_field_exists(leader->__state) ? BPF_CORE_READ(leader, __state)
							      : BPF_CORE_READ(old, state);

	return state & (TASK_STOPPED | TASK_TRACED) ? PROCESS_STOPPED : 0;
}

static __always_inline void enter_process(__u64 session, struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	visited.session = session;
	visited.task = task;
	visited.files = BPF_CORE_READ(task, files);
	visited.tgid = BPF_CORE_READ(task, tgid);
	visited.holds = false;
	__builtin_memset(&visited.record, 0, sizeof(visited.record));
	visited.record.kind = RECORD_PROCESS;
	visited.record.tgid = visible_tgid(task, true);
	visited.record.start_time = BPF_CORE_READ(leader, start_time);
	visited.record.start_boottime = BPF_CORE_READ(leader, start_boottime);
	visited.record.flags = process_flags(leader);
	visited.record.uid = BPF_CORE_READ(task, cred, euid.val);
	visited.record.fd_limit = BPF_CORE_READ(task, signal, rlim[RLIMIT_NOFILE].rlim_cur);
	BPF_CORE_READ_STR_INTO(&visited.record.comm, leader, comm);
}

/*
 * The descriptor at hand: what it adds to its process's record, once it has been visited to the
 * end. In memory, and not returned: the verifier would follow each value that is returned through
 * all that comes after.
 */
static struct {
	bool reported; /* a record of this descriptor was written */
	bool is_socket;
	__u32 connected;
	__u32 listening;
	__u32 closed;
	__u32 idle;
	__u32 idle_unguarded;
} descriptor;

static __always_inline void begin_descriptor(bool is_socket)
{
	__builtin_memset(&descriptor, 0, sizeof(descriptor));
	descriptor.is_socket = is_socket;
}

static __always_inline void end_descriptor(void)
{
	struct process_record *record = &visited.record;
	__u32 connections = descriptor.connected + descriptor.listening + descriptor.closed;

	record->open_fds++;
	if (descriptor.reported)
		visited.holds = true;
	if (!descriptor.is_socket)
		return;
	record->connected += descriptor.connected;
	record->listening += descriptor.listening;
	record->closed += descriptor.closed;
	record->other_sockets += 1 - connections;
	record->idle += descriptor.idle;
	record->idle_unguarded += descriptor.idle_unguarded;
}

/* Classifies a connection, or a listener, of TCP's or of MPTCP's. */
static __always_inline void classify(struct tcp_sock *tp, bool known)
{
	__u8 state = READ(known, tp, SKC.skc_state);

	descriptor.listening = in_set(1 << TCP_LISTEN, state);
	descriptor.closed = in_set(1 << TCP_CLOSE, state);
	descriptor.connected = 1 - descriptor.listening - descriptor.closed;
}

/* No data has gone either way for an hour. */
static __always_inline void classify_idle(struct tcp_sock *tp, bool known)
{
	__u32 now = bpf_jiffies64();
	bool is_idle = jiffies_per_hour &&
		       now - READ(known, tp, inet_conn.icsk_ack.lrcvtime) > jiffies_per_hour &&
		       now - READ(known, tp, lsndtime) > jiffies_per_hour &&
		       READ(known, tp, SKC.skc_state) == TCP_ESTABLISHED;

	descriptor.idle = is_idle;
	descriptor.idle_unguarded = is_idle && !has_flag(tp, known, FLAG(SOCK_KEEPOPEN));
}

#endif
