/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* A process's table of descriptors. It is read under RCU, and may change at any moment. */
#ifndef SOCKLEAK_FDTABLE_H
#define SOCKLEAK_FDTABLE_H

#include "kept.h"
#include "read.h"

#define CHUNK 64 /* descriptors read at once */
#define RINGS_MAX 128

/* The table that is being visited. One scan runs at a time. */
static struct {
	struct task_struct *task;
	int pid;
	__u32 fd; /* the next to visit */
	__u32 max_fds;
	bool again; /* show the task again: there was no room, or the table has moved */
	struct files_struct *files;
	struct fdtable *fdt;
	__u64 *fds;
	__u64 chunk[CHUNK]; /* struct file *, of the descriptors from `fd` on */
} table;

/* The io_urings among the descriptors of the process. Their tables are visited last. */
static struct {
	__u32 count;
	__u32 index; /* the one that is being visited: */
	__u32 slots; /* how many files its table has room for, */
	__u32 slot;  /* the next of them to visit, */
	__u64 *nodes; /* and the table: struct io_rsrc_node * */
	bool visiting;
	struct {
		__u64 file; /* struct file * */
		__u64 fd;
	} at[RINGS_MAX];
} rings;

/* Rings of which no note was taken, since one process has so many. User space resets it. */
__u64 rings_lost = 0;

/* A descriptor of user space's own socket. All sockets have the same file_operations. */
const volatile __u32 own_socket = 0;
/* The file_operations of sockets; while they are 0, a scan learns them and finds no socket. */
__u64 socket_file_ops = 0;

/* A descriptor of user space's own io_uring, if it has one and this kernel's rings are as known here. */
const volatile bool has_ring = false;
const volatile __u32 own_ring = 0;
static __u64 ring_file_ops;

static __always_inline __u64 file_ops_of(__u32 own_fd)
{
	struct task_struct *current = (struct task_struct *)bpf_get_current_task();
	struct file **fds = BPF_CORE_READ(current, files, fdt, fd);
	struct file *file;

	return bpf_probe_read_kernel(&file, sizeof(file), fds + own_fd)
		       ? 0
		       : (__u64)BPF_CORE_READ(file, f_op);
}

static __always_inline void learn_file_ops(void)
{
	if (socket_file_ops)
		return;
	socket_file_ops = file_ops_of(own_socket);
	if (has_ring)
		ring_file_ops = file_ops_of(own_ring);
}

/*
 * True if the descriptor still refers to this file. The table, or the file, may have been freed
 * and be in use again; but then it is not the task's table any more, or not in it.
 */
static __always_inline bool is_open(__u32 fd, __u64 file)
{
	__u64 now = 0;

	if (CAST(task_struct, table.task)->files != table.files ||
	    CAST(files_struct, table.files)->fdt != table.fdt) {
		table.again = true;
		return false;
	}
	return !bpf_probe_read_kernel(&now, sizeof(now), table.fds + fd) && now == file;
}

/* Keeps a record of a file, unless its descriptor has been closed meanwhile. False: no room. */
static __always_inline bool keep_if_open(__u32 fd, void *record, __u64 size)
{
	__u64 index = fd - table.fd, file;

	if (has_ring && rings.visiting) {
		index = rings.index;
		file = index < RINGS_MAX ? rings.at[index].file : 0;
	} else {
		file = index < CHUNK ? table.chunk[index] : 0;
	}
	if (!file || !is_open(fd, file))
		return true;
	return keep(record, size);
}

static __always_inline struct socket *socket_of(__u64 address)
{
	struct file *file;

	if (!address)
		return NULL;
	file = CAST(file, address);
	if ((__u64)file->f_op != socket_file_ops)
		return NULL;
	return CAST(socket, file->private_data);
}

static __always_inline struct socket *socket_at(__u64 index)
{
	return index < CHUNK ? socket_of(table.chunk[index]) : NULL;
}

/* Loads end here so that clang keeps them. Nobody reads it. */
static volatile __u64 prefetched;

static long prefetch_file(__u64 index, void *unused)
{
	prefetched = (__u64)socket_at(index);
	return 0;
}

static long prefetch_socket(__u64 index, void *unused)
{
	struct socket *socket = socket_at(index);

	if (socket)
		prefetched = (__u64)socket->sk;
	return 0;
}

/*
 * Loads from each cache line that visit_known() reads. One forgotten costs as much as all others. An
 * ESTABLISHED connection is healthy most of the time: of it, visit_known() reads the first group of
 * fields, and only where it is idle its flags, too. To load all of them took 1.14 times as long beside
 * 100,000 healthy connections (6.18).
 */
static long prefetch_sock(__u64 index, void *unused)
{
	struct socket *socket = socket_at(index);
	struct tcp_sock *sk;
	__u8 state;

	if (!socket || socket->type != SOCK_STREAM)
		return 0;
	sk = CAST(tcp_sock, socket->sk);
	state = sk->SKC.skc_state;
	prefetched = sk->SK.sk_protocol + sk->copied_seq + sk->rcv_nxt + sk->lsndtime +
		     sk->inet_conn.icsk_ack.lrcvtime + sk->inet_conn.icsk_retransmits +
		     sk->inet_conn.icsk_probes_out;
	if (state == TCP_ESTABLISHED && !in_set(watched_states, TCP_ESTABLISHED))
		return 0;
	prefetched = sk->SKC.skc_flags + sk->SK.sk_max_ack_backlog +
		     sk->inet_conn.icsk_inet.inet_sport + sk->inet_conn.icsk_inet.mc_index +
		     sk->tcp_mstamp + sk->rcv_wup + sk->bytes_received + sk->bytes_acked +
		     sk->rcvq_space.time;
	prefetched = (__u64)sk->SK.sk_socket;
	prefetched = is_subflow(sk, true);
	if (bpf_core_field_exists(sk->inet_conn.icsk_probes_tstamp))
		prefetched = sk->inet_conn.icsk_probes_tstamp;
	return 0;
}

#endif
