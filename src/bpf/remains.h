/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Sockets in the hands of processes: when one exits, for the numbers of its descriptors; and at the end, to find
 * the sockets that survivors still hold.
 */
#ifndef SOCKLEAK_REMAINS_H
#define SOCKLEAK_REMAINS_H

#include "dead.h"
#include "read.h"
#include "follow.h"
#include "tree.h"
#include <bpf/bpf_tracing.h>

#define FDS_MAX (1 << 23)    /* what bpf_loop() allows */
#define FDS_MAX_UNROLLED 128 /* what a verifier without it follows */

static __always_inline bool listens(struct tcp_sock *sk)
{
	return BPF_CORE_READ(sk, SKC.skc_state) == TCP_LISTEN;
}

/*
 * A TCP socket behind a file; NULL where it is something else. A listener of MPTCP's is one, too: plain
 * connections wait in its queue.
 */
static __always_inline struct tcp_sock *tcp_sock_of(struct file *file)
{
	struct socket *socket;
	struct tcp_sock *sk;
	__u16 protocol;

	if (BPF_CORE_READ(file, f_inode, i_sb, s_magic) != SOCKFS_MAGIC)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	if (BPF_CORE_READ(socket, type) != SOCK_STREAM)
		return NULL;
	sk = (struct tcp_sock *)BPF_CORE_READ(socket, sk);
	if (!sk)
		return NULL;
	protocol = BPF_CORE_READ(sk, SK.sk_protocol);
	return protocol == IPPROTO_TCP || (protocol == IPPROTO_MPTCP && listens(sk)) ? sk : NULL;
}

/* True if connections may wait in a listener's queue. MPTCP's has its queue elsewhere. */
static __always_inline bool has_queue(struct tcp_sock *sk)
{
	return BPF_CORE_READ(sk, SK.sk_ack_backlog) ||
	       BPF_CORE_READ(sk, SK.sk_protocol) == IPPROTO_MPTCP;
}

static __always_inline bool is_stranded(struct tcp_sock *sk)
{
	return stranded_too && is_candidate(sk, false, BPF_CORE_READ(sk, SKC.skc_state));
}

struct fd_walk {
	struct file **files;
	__u32 count;
	__u32 holder;
};

/* Notes at which descriptor a process that exits has a dead socket. */
static __always_inline long note_fd(__u64 index, struct fd_walk *walk)
{
	struct file *file = NULL;
	struct tcp_sock *sk;
	struct dead *found;
	__u64 key;

	if (index >= walk->count)
		return 1;
	if (bpf_probe_read_kernel(&file, sizeof(file), walk->files + index) || !file)
		return 0;
	sk = tcp_sock_of(file);
	if (!sk)
		return 0;
	key = (__u64)sk;
	found = bpf_map_lookup_elem(&dead, &key);
	if (!found && is_stranded(sk)) {
		note_dead(sk, 0);
		found = bpf_map_lookup_elem(&dead, &key);
	}
	if (found) {
		found->fd = index;
		found->holder = walk->holder;
	}
	return 0;
}

/* Returns whether a process that is followed exits. Its files are closed after that. */
static __always_inline bool begin_exit(struct task_struct *task, struct fd_walk *walk)
{
	struct followed *process;
	struct files_struct *files;
	struct gone_record gone = { .kind = FOLLOW_EXIT };

	if (!is_exiting(task))
		return false;
	process = followed_process(task);
	if (!process)
		return false;
	gone.tgid = visible_tgid(task, false);
	gone.start_time = process->start_time;
	gone.ktime = bpf_ktime_get_ns();
	gone.waited = waited_for_cpu(task);
	process->exiting = gone.ktime;
	if (process->has_closed && bpf_ringbuf_output(&ring, &gone, sizeof(gone), wakeup()))
		__sync_fetch_and_add(&lost, 1);
	files = BPF_CORE_READ(task, files);
	walk->files = BPF_CORE_READ(files, fdt, fd);
	walk->count = BPF_CORE_READ(files, fdt, max_fds);
	walk->holder = BPF_CORE_READ(task, tgid);
	return files;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_process_exit, struct task_struct *task)
{
	struct fd_walk walk = {};

	if (begin_exit(task, &walk))
		REPEAT(true, FDS_MAX, FDS_MAX_UNROLLED, note_fd, &walk);
	return 0;
}

/* True if a process exits, and no program has been given that. */
static __always_inline bool was_exit_skipped(struct task_struct *task)
{
	struct followed *process;

	if (!is_exiting(task))
		return false;
	process = followed_process(task);
	return process && !process->exiting;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_process_exit_skipped, struct task_struct *task)
{
	struct fd_walk walk = {};

	if (was_exit_skipped(task) && begin_exit(task, &walk))
		REPEAT(true, FDS_MAX, FDS_MAX_UNROLLED, note_fd, &walk);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_process_exit_unrolled, struct task_struct *task)
{
	struct fd_walk walk = {};

	if (begin_exit(task, &walk))
		REPEAT(false, FDS_MAX, FDS_MAX_UNROLLED, note_fd, &walk);
	return 0;
}

/* Processes that are followed and live, and tasks of the others that may not have closed their files yet. */
__u64 living = 0;
__u64 closing = 0;

/* Counts them. A process closes its files in on_process_exit or later, and before it is a zombie. */
SEC("iter/task")
int survey_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	if (!ctx->meta->seq_num)
		living = closing = 0;
	if (!task || !followed_process(task))
		return 0;
	if (is_exiting(task))
		closing += !BPF_CORE_READ(task, exit_state);
	else
		living += task->pid == task->tgid; /* a leader stays until all of its threads have exited */
	return 0;
}

/* The record that the iterators fill in: one of them runs at a time. */
static struct dead_record remains;

SEC("iter/task_file")
int survey_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct dead undead = { .fd = NO_FD };
	struct followed *process;
	struct tcp_sock *sk;
	struct dead *found;
	bool is_listener;
	__u64 key;

	if (!task || !file || is_exiting(task))
		return 0;
	process = followed_process(task);
	sk = process ? tcp_sock_of(file) : NULL;
	if (!sk)
		return 0;
	is_listener = listens(sk);
	if (is_listener && !has_queue(sk))
		return 0;
	key = (__u64)sk;
	found = bpf_map_lookup_elem(&dead, &key);
	if (!found && !is_listener && !is_stranded(sk))
		return 0;
	begin_record(&remains, is_listener ? FOLLOW_LISTENER : FOLLOW_HELD, found ?: &undead, sk);
	if (!found)
		remains.before = remains.sock.progress;
	add_process(&remains, task, process);
	remains.fd = ctx->fd;
	bpf_seq_write(ctx->meta->seq, &remains, sizeof(remains));
	return 0;
}

/* Dead sockets in accept queues have no descriptor. */
SEC("iter/bpf_map_elem")
int survey_queues(struct bpf_iter__bpf_map_elem *ctx)
{
	struct dead *found = ctx->value, copy;
	__u64 *key = ctx->key;
	struct tcp_sock *sk;

	if (!key || !found)
		return 0;
	sk = (struct tcp_sock *)*key;
	if (BPF_CORE_READ(sk, SK.sk_socket) || is_orphan(sk, false))
		return 0;
	copy = *found;
	begin_record(&remains, FOLLOW_QUEUED, &copy, sk);
	bpf_seq_write(ctx->meta->seq, &remains, sizeof(remains));
	return 0;
}

#endif
