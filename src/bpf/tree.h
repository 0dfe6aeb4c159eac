/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The processes that are followed: a command, and all its descendants. */
#ifndef SOCKLEAK_TREE_H
#define SOCKLEAK_TREE_H

#include "read.h"
#include "follow.h"
#include "ring.h"
#include "skipped.h"
#include <bpf/bpf_tracing.h>

#define FOLLOWED_MAX (1 << 18) /* user space has the last word */

/* The process whose children are followed, in user space's PID namespace: sockleak itself. */
const volatile __u32 runner = 0;

struct followed {
	__u64 start_time; /* with its number, names a process for good */
	__u64 program;	  /* the number of the program that it runs; 0: it has executed none yet */
	__u64 exiting;	  /* since when it exits; 0: it does not */
	__u64 exec_id;	  /* the kernel's own number of that program's execution */
	__u64 has_closed; /* a dead socket: user space has to hear of its exit */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FOLLOWED_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* the kernel's own number of the process */
	__type(value, struct followed);
} followed SEC(".maps");

/* Processes for which the map had no room. */
__u64 unfollowed = 0;

/*
 * Since 7.0, a task can be preempted in a program, and the kernel skips that for others on this CPU until
 * it goes on. So each of these has a stand-in, which the kernel calls right after it, and which does
 * nothing where that has done its work: it is short, and so seldom preempted itself.
 */
struct seen {
	__u64 child;	 /* the last that on_fork was given on this CPU, */
	__u64 destroyed; /* and the last socket that on_destroy was */
} __attribute__((aligned(64)));
static struct seen seen[MAX_CPUS];

static __always_inline struct seen *seen_here(void)
{
	return &seen[bpf_get_smp_processor_id() & (MAX_CPUS - 1)];
}

/* A process that is followed, by its number; `leader` tells whether it is that one. */
static __always_inline struct followed *find_followed(__u32 tgid, struct task_struct *leader)
{
	struct followed *found = bpf_map_lookup_elem(&followed, &tgid);

	return found && found->start_time == BPF_CORE_READ(leader, start_time) ? found : NULL;
}

static __always_inline struct followed *followed_process(struct task_struct *task)
{
	return find_followed(BPF_CORE_READ(task, tgid), BPF_CORE_READ(task, group_leader));
}

/*
 * How long a process's leader has waited for a CPU. On a busy machine, a program's last moments last
 * longer than it can help.
 */
static __always_inline __u64 waited_for_cpu(struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	return bpf_core_field_exists(leader->sched_info.run_delay)
		       ? BPF_CORE_READ(leader, sched_info.run_delay)
		       : 0;
}

/*
 * Follows the children of those who are followed. Whoever their parent becomes, `parent` is the process
 * that has made them. A child is noted before it runs.
 */
static __always_inline void add_child(struct task_struct *parent, struct task_struct *child)
{
	struct followed *known = followed_process(parent), new = {};
	__u32 tgid = child->tgid;

	if (known)
		new.program = known->program;
	else if (visible_tgid(parent, false) != runner)
		return;
	new.start_time = BPF_CORE_READ(child, group_leader, start_time);
	if (bpf_map_update_elem(&followed, &tgid, &new, BPF_ANY))
		__sync_fetch_and_add(&unfollowed, 1);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	if (child->tgid != parent->tgid)
		add_child(parent, child);
	seen_here()->child = (__u64)child;
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork_skipped, struct task_struct *parent, struct task_struct *child)
{
	if (seen_here()->child != (__u64)child && child->tgid != parent->tgid &&
	    !find_followed(child->tgid, child))
		add_child(parent, child);
	return 0;
}

/* A process keeps its number for as long as it has a task: files are closed after on_process_exit. */
SEC("tp_btf/sched_process_free")
int BPF_PROG(on_free, struct task_struct *task)
{
	__u32 tgid = task->tgid;

	if (task->pid == task->tgid && find_followed(tgid, task))
		bpf_map_delete_elem(&followed, &tgid);
	return 0;
}

/* Copies as many of the arguments as there is room for. */
static __always_inline void read_args(struct program_record *record, struct task_struct *task)
{
	unsigned long begin = BPF_CORE_READ(task, mm, arg_start);
	__u64 length = BPF_CORE_READ(task, mm, arg_end) - begin;

	if (length > ARGS_LEN)
		length = ARGS_LEN;
	record->args_len = length;
	if (bpf_probe_read_user(record->args, length, (void *)begin))
		record->args_len = 0;
}

static __always_inline void note_program(struct task_struct *task, struct followed *process)
{
	struct program_record *record;
	__u64 before = process->program;

	process->program = bpf_ktime_get_ns();
	process->exec_id = BPF_CORE_READ(task, self_exec_id);
	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		__sync_fetch_and_add(&lost, 1);
		return;
	}
	record->kind = FOLLOW_PROGRAM;
	record->tgid = visible_tgid(task, false);
	record->program = process->program;
	record->before = before;
	record->pad = 0;
	BPF_CORE_READ_STR_INTO(&record->comm, task, group_leader, comm);
	read_args(record, task);
	bpf_ringbuf_submit(record, wakeup());
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task)
{
	struct followed *process = followed_process(task);

	if (process)
		note_program(task, process);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec_skipped, struct task_struct *task)
{
	struct followed *process = followed_process(task);

	if (process && process->exec_id != BPF_CORE_READ(task, self_exec_id))
		note_program(task, process);
	return 0;
}

#endif
