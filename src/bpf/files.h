/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Which process holds which socket, and which listener. */
#ifndef SOCKLEAK_FILES_H
#define SOCKLEAK_FILES_H

#include "queues.h"
#include "read.h"

#define SOCKFS_MAGIC 0x534F434B
#define RLIMIT_NOFILE 7
#define MPTCP_SUBFLOWS_MAX 8

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
	bool holds; /* a record of this process names it */
	struct process_record record;
} visited;

static __always_inline bool leave_process(struct bpf_iter_meta *meta)
{
	if (visited.session != meta->session_id || !visited.holds)
		return true;
	return !bpf_seq_write(meta->seq, &visited.record, sizeof(visited.record));
}

static __always_inline void enter_process(struct bpf_iter_meta *meta, struct task_struct *task)
{
	visited.session = meta->session_id;
	visited.task = task;
	visited.holds = false;
	visited.record.kind = RECORD_PROCESS;
	visited.record.tgid = visible_tgid(task);
	visited.record.uid = BPF_CORE_READ(task, cred, euid.val);
	visited.record.open_fds = 0;
	visited.record.fd_limit = BPF_CORE_READ(task, signal, rlim[RLIMIT_NOFILE].rlim_cur);
	BPF_CORE_READ_STR_INTO(&visited.record.comm, task, group_leader, comm);
}

/*
 * Whether the file at hand has led to a record. In memory, and not returned: of a
 * returned value the verifier would follow each possibility through all that comes after.
 */
static bool wrote;

/* False where there was no room: then the file at hand will be shown again. */
static __always_inline bool write_record(struct bpf_iter__task_file *ctx, void *record, __u32 size)
{
	if (bpf_seq_write(ctx->meta->seq, record, size))
		return false;
	wrote = true;
	return true;
}

/*
 * What the two functions below read; their callers say which sock. Like the process
 * above, it serves one scan at a time. They are not static: such a function is verified
 * once, and not for each of its calls. And they have no arguments: those could be
 * numbers only, which a pointer of known type is not.
 */
static struct listener_record listener;
static struct sock_record probed;

/* Reads a listener, if something waits in its queue. */
__noinline int read_listener(void)
{
	struct sock *sk = (struct sock *)listener.sock;

	listener.backlog = BPF_CORE_READ(sk, sk_ack_backlog);
	if (!listener.backlog)
		return 0;
	listener.kind = RECORD_LISTENER;
	listener.max_backlog = BPF_CORE_READ(sk, sk_max_ack_backlog);
	read_conn(&sk->__sk_common, false, &listener.conn);
	listener.conn.sport = BPF_CORE_READ(sk, __sk_common.skc_num);
	return 1;
}

/* Reads a socket of which the verifier knows nothing, if it is watched. */
__noinline int read_probed(void)
{
	struct tcp_sock *tp = (struct tcp_sock *)probed.sock;

	if (!is_watched((struct sock_common *)tp, false))
		return 0;
	read_sock(tp, false, &probed);
	return 1;
}

/* What the visits return: whether there was room. */
static __always_inline bool visit_listener(struct bpf_iter__task_file *ctx, struct sock *sk,
					   __u32 tgid)
{
	listener.sock = (__u64)sk;
	if (!read_listener())
		return true;
	listener.tgid = tgid;
	listener.fd = ctx->fd;
	if (!write_record(ctx, &listener, sizeof(listener)))
		return false;
	note(&listeners, &listener.sock, &listener.sock);
	return true;
}

static __always_inline bool write_held(struct bpf_iter__task_file *ctx,
				       struct sock_record *record, __u32 tgid)
{
	record->kind = RECORD_HELD;
	record->tgid = tgid;
	record->fd = ctx->fd;
	return write_record(ctx, record, sizeof(*record));
}

/* Not inlined, for the stack's sake: it has 512 bytes for all frames together. */
static __noinline bool visit_known(struct bpf_iter__task_file *ctx, struct tcp_sock *tp,
				   __u32 tgid)
{
	struct sock *sk = &tp->inet_conn.icsk_inet.sk;
	struct sock_record record = {};

	if (is_watched(&sk->__sk_common, true)) {
		read_sock(tp, true, &record);
		if (!write_held(ctx, &record, tgid))
			return false;
	}
	if (sk->__sk_common.skc_state == TCP_LISTEN)
		return visit_listener(ctx, sk, tgid);
	return true;
}

static __noinline bool visit_probed(struct bpf_iter__task_file *ctx, struct sock *sk, __u32 tgid)
{
	probed.sock = (__u64)sk;
	if (read_probed() && !write_held(ctx, &probed, tgid))
		return false;
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN)
		return visit_listener(ctx, sk, tgid);
	return true;
}

/*
 * An MPTCP connection has a socket and states of its own; the TCP sockets that carry
 * it hang below. The peer's goodbye may reach the one and not the others. It is told
 * of once: as its TCP sockets, or where none of these is watched as itself.
 */
static __noinline bool visit_msk(struct bpf_iter__task_file *ctx, struct sock *msk, __u32 tgid)
{
	struct sock_record record = {};

	/* A listener's queue, and its name, are those of its subflow. */
	if (BPF_CORE_READ(msk, __sk_common.skc_state) == TCP_LISTEN ||
	    !is_watched(&msk->__sk_common, false))
		return true;
	read_common(&msk->__sk_common, false, &record);
	record.conn.sport = read_sport((struct inet_connection_sock *)msk, false);
	record.flags = read_flags(msk, false) | SOCK_MPTCP;
	record.err = BPF_CORE_READ(msk, sk_err);
	return write_held(ctx, &record, tgid);
}

static __always_inline bool visit_mptcp(struct bpf_iter__task_file *ctx, struct mptcp_sock *msk,
					__u32 tgid)
{
	struct list_head *head, *node;

	if (!bpf_core_type_exists(struct mptcp_sock))
		return true;
	head = (void *)msk + bpf_core_field_offset(msk->conn_list);
	node = BPF_CORE_READ(head, next);
	for (int i = 0; i < MPTCP_SUBFLOWS_MAX && node && node != head; i++) {
		struct mptcp_subflow_context *subflow =
			(void *)node - bpf_core_field_offset(struct mptcp_subflow_context, node);

		if (!visit_probed(ctx, BPF_CORE_READ(subflow, tcp_sock), tgid))
			return false;
		node = BPF_CORE_READ(node, next);
	}
	return wrote || visit_msk(ctx, (struct sock *)msk, tgid);
}

static __always_inline bool visit_file(struct bpf_iter__task_file *ctx,
				       struct task_struct *task, struct file *file)
{
	struct socket *socket;
	struct sock *sk;
	__u16 protocol;

	/* Since 5.11 (4f19cab76136). */
	if (HAS_HELPER(sock_from_file)) {
		struct tcp_sock *tp;

		socket = bpf_sock_from_file(file);
		if (!socket || !socket->sk)
			return true;
		tp = bpf_skc_to_tcp_sock(socket->sk);
		if (tp)
			return visit_known(ctx, tp, visible_tgid(task));
	} else {
		if (file->f_inode->i_sb->s_magic != SOCKFS_MAGIC)
			return true;
		socket = file->private_data;
	}
	sk = BPF_CORE_READ(socket, sk);
	protocol = BPF_CORE_READ(sk, sk_protocol);
	if (protocol == IPPROTO_TCP)
		return visit_probed(ctx, sk, visible_tgid(task));
	if (protocol == IPPROTO_MPTCP)
		return visit_mptcp(ctx, (struct mptcp_sock *)sk, visible_tgid(task));
	return true;
}

SEC("iter/task_file")
int scan_files(struct bpf_iter__task_file *ctx)
{
	struct bpf_iter_meta *meta = ctx->meta;
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	bool entering;

	if (!task || !file) {
		if (leave_process(meta))
			visited.session = 0;
		return 0;
	}
	/*
	 * Threads share their leader's files and would count twice. The kernel leaves
	 * them out itself since 5.11 (203d7b054fc7).
	 */
	if (task != task->group_leader && task->files == task->group_leader->files)
		return 0;

	entering = visited.session != meta->session_id || visited.task != task;
	if (entering && !leave_process(meta))
		return 0;
	wrote = false;
	if (!visit_file(ctx, task, file))
		return 0;
	if (entering)
		enter_process(meta, task);
	visited.record.open_fds++;
	if (wrote)
		visited.holds = true;
	return 0;
}

#endif
