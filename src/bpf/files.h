/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Which process holds which socket, and which listener. */
#ifndef SOCKLEAK_FILES_H
#define SOCKLEAK_FILES_H

#include "candidate.h"
#include "fdtable.h"
#include "held_back.h"
#include "process.h"
#include "queues.h"
#include "read.h"

#define MPTCP_SUBFLOWS_MAX 8

/*
 * Writes a record of the file at hand. With casts, descriptors are read by the chunk (tasks.h) and
 * their records are kept. False: there was no room, and the file at hand will be shown again.
 */
static __always_inline bool write_record(struct seq_file *seq, __u32 fd, void *record, __u32 size)
{
	if (has_cast ? !keep_if_open(fd, record, size) : bpf_seq_write(seq, record, size))
		return false;
	descriptor.reported = true;
	return true;
}

/*
 * The records that the functions below fill in; their callers say of which sock. Like the process
 * above, each serves one scan at a time. The functions are not static, so the verifier checks them
 * once, and not for each call. They have no arguments: those could be numbers only, and no pointers
 * of a known type.
 */
static struct listener_record listener;
static struct sock_record probed;

/* Reads a listener, if something waits in its queue. */
__noinline int read_listener(void)
{
	struct tcp_sock *tp = (struct tcp_sock *)listener.sock;

	listener.backlog = BPF_CORE_READ(tp, SK.sk_ack_backlog);
	if (!listener.backlog)
		return 0;
	listener.kind = RECORD_LISTENER;
	listener.max_backlog = BPF_CORE_READ(tp, SK.sk_max_ack_backlog);
	read_conn(tp, false, &listener.conn);
	listener.conn.sport = BPF_CORE_READ(tp, SKC.skc_num);
	return 1;
}

/* Reads a socket of which the verifier knows nothing, if it is wanted. */
__noinline int read_probed(void)
{
	struct tcp_sock *tp = (struct tcp_sock *)probed.sock;

	if (!is_wanted(tp, false))
		return 0;
	return read_sock(tp, false, &probed) && is_still(tp, false, probed.state);
}

__noinline int classify_probed(void)
{
	struct tcp_sock *tp = (struct tcp_sock *)probed.sock;

	classify(tp, false);
	classify_idle(tp, false);
	return 0;
}

/* The visits return false where there was no room. */
static __always_inline bool visit_listener(struct seq_file *seq, __u32 fd, struct tcp_sock *tp,
					   __u32 tgid)
{
	listener.sock = (__u64)tp;
	if (!read_listener())
		return true;
	listener.tgid = tgid;
	listener.fd = fd;
	if (!write_record(seq, fd, &listener, sizeof(listener)))
		return false;
	note(&listeners, &listener.sock, &listener.sock);
	return true;
}

static __always_inline bool write_held(struct seq_file *seq, __u32 fd, struct sock_record *record,
				       __u32 tgid)
{
	record->kind = RECORD_HELD;
	record->tgid = tgid;
	record->fd = fd;
	if (has_ring && rings.visiting) {
		record->flags |= SOCK_IN_RING;
		record->slot = rings.slot;
	}
	return write_record(seq, fd, record, sizeof(*record));
}

/* Not inlined, for the stack's sake: it has 512 bytes for all frames together. */
static __noinline bool visit_known(struct seq_file *seq, __u32 fd, struct tcp_sock *tp, __u32 tgid)
{
	struct sock_record record = {};

	classify(tp, true);
	classify_idle(tp, true);
	if (is_wanted(tp, true) && read_sock(tp, true, &record) &&
	    is_still(tp, true, record.state) && !write_held(seq, fd, &record, tgid))
		return false;
	if (tp->SKC.skc_state == TCP_LISTEN)
		return visit_listener(seq, fd, tp, tgid);
	return true;
}

static __noinline bool visit_probed(struct seq_file *seq, __u32 fd, struct tcp_sock *tp, __u32 tgid)
{
	probed.sock = (__u64)tp;
	if (read_probed() && !write_held(seq, fd, &probed, tgid))
		return false;
	if (BPF_CORE_READ(tp, SKC.skc_state) == TCP_LISTEN)
		return visit_listener(seq, fd, tp, tgid);
	return true;
}

/* Visits a subflow where records are kept. Not static, so verified once. */
__noinline int visit_subflow(__u64 sk, __u32 fd)
{
	if (!has_cast)
		return 1;
	return visit_probed(NULL, fd, (struct tcp_sock *)sk, visited.record.tgid);
}

/* Returns true if a subflow was connected once. Not static, so verified once. */
__noinline int was_connected(__u64 sk)
{
	return !!BPF_CORE_READ((struct tcp_sock *)sk, rcv_nxt);
}

/*
 * Returns true if a subflow's connection is over. MPTCP dissolves the first one then, and keeps it,
 * nameless, for as long as it lives itself: of what became of the whole that says nothing.
 */
__noinline int is_dissolved(__u64 sk)
{
	return BPF_CORE_READ((struct tcp_sock *)sk, SKC.skc_state) == TCP_CLOSE && was_connected(sk);
}

/*
 * An MPTCP connection has a socket and states of its own; the TCP sockets that carry
 * it hang below. The peer's FIN may reach the one and not the others. It is reported
 * once: as its TCP sockets or, where none of these is wanted, as itself.
 */
static __noinline bool visit_msk(struct seq_file *seq, __u32 fd, struct tcp_sock *msk, __u32 tgid,
				 bool connected)
{
	struct sock_record record = {};

	/* A listener's queue, and its name, are those of its subflow. */
	if (BPF_CORE_READ(msk, SKC.skc_state) == TCP_LISTEN || !is_wanted_msk(msk))
		return true;
	if (!read_common(msk, false, &record) || !is_still(msk, false, record.state))
		return true;
	record.conn.sport = read_sport(msk, false);
	record.flags = read_flags(msk, false) | SOCK_MPTCP | connected * SOCK_CONNECTED;
	record.err = BPF_CORE_READ(msk, SK.sk_err);
	return write_held(seq, fd, &record, tgid);
}

static __always_inline struct list_head *next(struct list_head *node)
{
	struct list_head *next;

	return bpf_probe_read_kernel(&next, sizeof(next), &node->next) ? NULL : next;
}

static __always_inline bool visit_mptcp(struct seq_file *seq, __u32 fd, struct mptcp_sock *msk,
					__u32 tgid)
{
	struct list_head *head, *node;
	bool connected = false;

	classify((struct tcp_sock *)msk, false);
	if (!bpf_core_type_exists(struct mptcp_sock))
		return true;
	head = (void *)msk + bpf_core_field_offset(msk->conn_list);
	node = next(head);
	for (int i = 0; i < MPTCP_SUBFLOWS_MAX && node && node != head; i++) {
		struct mptcp_subflow_context *subflow =
			(void *)node - bpf_core_field_offset(struct mptcp_subflow_context, node);
		struct sock *sk = BPF_CORE_READ(subflow, tcp_sock);

		connected |= was_connected((__u64)sk);
		node = next(node);
		if (is_dissolved((__u64)sk))
			continue;
		if (!(has_cast ? visit_subflow((__u64)sk, fd)
				    : visit_probed(seq, fd, (struct tcp_sock *)sk, tgid)))
			return false;
	}
	return descriptor.reported || visit_msk(seq, fd, (struct tcp_sock *)msk, tgid, connected);
}

/*
 * The protocol of a stream socket of IP's; 0 for all others, since raw sockets and netlink's use
 * TCP's number, too.
 */
static __always_inline __u16 protocol_of(struct socket *socket, struct tcp_sock *sk, bool known)
{
	unsigned short family = READ(known, sk, SKC.skc_family);

	if (READ(known, socket, type) != SOCK_STREAM || (family != AF_INET && family != AF_INET6))
		return 0;
	return READ(known, sk, SK.sk_protocol);
}

static __always_inline bool visit_socket(struct seq_file *seq, __u32 fd, struct socket *socket,
					 __u32 tgid)
{
	struct tcp_sock *sk = (struct tcp_sock *)BPF_CORE_READ(socket, sk);
	__u16 protocol = protocol_of(socket, sk, false);

	if (protocol == IPPROTO_TCP) {
		probed.sock = (__u64)sk;
		classify_probed();
		return visit_probed(seq, fd, sk, tgid);
	}
	if (protocol == IPPROTO_MPTCP)
		return visit_mptcp(seq, fd, (struct mptcp_sock *)sk, tgid);
	return true;
}

static __always_inline bool visit_file(struct seq_file *seq, __u32 fd, struct file *file,
				       struct task_struct *task, bool has_sock_from_file)
{
	struct socket *socket;
	struct sock *sk;
	struct tcp_sock *tp;

	if (!has_sock_from_file) {
		if (file->f_inode->i_sb->s_magic != SOCKFS_MAGIC)
			return true;
		descriptor.is_socket = true;
		return visit_socket(seq, fd, file->private_data, visible_tgid(task, true));
	}
	socket = bpf_sock_from_file(file);
	descriptor.is_socket = !!socket;
	/* bpf_skc_to_tcp_sock() asks for the protocol; on older kernels, for nothing else. */
	if (!socket || socket->type != SOCK_STREAM)
		return true;
	sk = socket->sk;
	if (!sk)
		return true;
	tp = bpf_skc_to_tcp_sock(sk);
	if (tp)
		return visit_known(seq, fd, tp, visible_tgid(task, true));
	return visit_socket(seq, fd, socket, visible_tgid(task, true));
}

static __always_inline int visit(struct bpf_iter__task_file *ctx, bool has_sock_from_file)
{
	/* Loaded once: for each load of a pointer, some verifiers search all of BTF by name. */
	struct seq_file *seq = ctx->meta->seq;
	__u64 session = ctx->meta->session_id;
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct task_struct *leader;
	struct files_struct *files;
	bool entering;

	if (!task || !file) {
		if (leave_process(seq, session))
			visited.session = 0;
		return 0;
	}
	/*
	 * Threads share their leader's files and would count twice. The kernel leaves
	 * them out itself since 5.11 (203d7b054fc7). A leader that has exited has no files:
	 * of its threads, which come one after the other, the first counts.
	 */
	leader = task->group_leader;
	files = task->files;
	if (task != leader && files == leader->files)
		return 0;
	entering = visited.session != session || visited.task != task;
	if (entering && visited.session == session && visited.files == files &&
	    visited.tgid == task->tgid)
		return 0;
	if (entering && is_exiting(task))
		return 0;
	if (entering && !leave_process(seq, session))
		return 0;
	begin_descriptor(false);
	if (!visit_file(seq, ctx->fd, file, task, has_sock_from_file))
		return 0;
	if (entering)
		enter_process(session, task);
	end_descriptor();
	return 0;
}

SEC("iter/task_file")
int scan_files(struct bpf_iter__task_file *ctx)
{
	return visit(ctx, true);
}

SEC("iter/task_file")
int scan_files_by_magic(struct bpf_iter__task_file *ctx)
{
	return visit(ctx, false);
}

#endif
