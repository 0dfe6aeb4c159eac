/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* How to read a socket, and what user space wants to know of which. */
#ifndef SOCKLEAK_READ_H
#define SOCKLEAK_READ_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include "sockleak.h"

#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCKFS_MAGIC 0x534F434B
#define IPPROTO_TCP 6
#define IPPROTO_MPTCP 262
#define RCV_SHUTDOWN 1
#define PF_EXITING 0x00000004
#define PF_KTHREAD 0x00200000
#define PROC_PID_INIT_INO 0xEFFFFFFCU
#define MAX_PID_NS_LEVEL 32

enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING,
	TCP_NEW_SYN_RECV,
};

/* Set by user space before the programs are loaded, as are the others of this kind. */
const volatile __u32 watched_states = 1 << TCP_CLOSE_WAIT; /* a bit for each state's number */
const volatile __u32 pid_namespace = PROC_PID_INIT_INO;	   /* whose numbers user space reads */

static __always_inline __u32 in_set(__u32 set, __u8 state)
{
	return set >> (state & 31) & 1;
}

/*
 * A field of what `p` points to. Where the verifier knows the type of the pointer it
 * is read in place; elsewhere through a helper, which takes ten times as long. A read
 * through a null pointer gives 0, either way. `known` is a constant.
 */
#define READ(known, p, field) ((known) ? (p)->field : BPF_CORE_READ(p, field))

/* True if the kernel has a helper. Without it, the verifier drops the branch as dead. */
#define HAS_HELPER(name) bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_##name)

/* Makes of a number a pointer that the verifier knows. Since 6.2 (a35b9af4ec2c). */
void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;
#define CAST(type, p) ((struct type *)bpf_rdonly_cast((const void *)(p), type_ids.type))
/* The numbers of types in the kernel's BTF; set by user space, which shows libbpf only a part of it. */
const volatile struct type_ids {
	__u32 task_struct;
	__u32 files_struct;
	__u32 file;
	__u32 socket;
	__u32 tcp_sock;
} type_ids = {};
/* Set by user space: so the verifier knows it, and sees nothing of what an old kernel lacks. */
const volatile bool has_cast = false;

/*
 * The tgid as user space sees it: in the PID namespace it lives in, which may be
 * a container's. 0 where the task is not visible there.
 */
static __always_inline __u32 visible_tgid(struct task_struct *task, bool known)
{
	struct pid *pid;
	struct upid *numbers;
	unsigned int level;

	if (pid_namespace == PROC_PID_INIT_INO)
		return READ(known, task, tgid);
	pid = BPF_CORE_READ(task, group_leader, thread_pid);
	level = BPF_CORE_READ(pid, level);
	numbers = (void *)pid + bpf_core_field_offset(pid->numbers);
	for (unsigned int i = 0; i <= MAX_PID_NS_LEVEL && i <= level; i++) {
		struct upid *upid = (void *)numbers + i * bpf_core_type_size(struct upid);

		if (BPF_CORE_READ(upid, ns, ns.inum) == pid_namespace)
			return BPF_CORE_READ(upid, nr);
	}
	return 0;
}

/*
 * True if all threads of a process have begun to exit. Its descriptors are closed soon after; a scan
 * leaves them out, because on_exit may have reported the process already.
 */
static __always_inline bool is_exiting(struct task_struct *task)
{
	return !BPF_CORE_READ(task, signal, live.counter);
}

static __always_inline void v4_mapped(__u8 out[16], __be32 addr)
{
	__u32 *words = (__u32 *)out;

	words[0] = 0;
	words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = addr;
}

/*
 * Calls step(index, arg) until that returns other than 0: bpf_loop(), or where there is none
 * (before 5.17, e6f2dd0f8067) a loop that the verifier follows turn by turn; what that calls must
 * be inlined, or it gives up on seeing that one turn is like the other. `has_loop` is a constant.
 */
#define REPEAT(has_loop, times, times_unrolled, step, arg)                                    \
	do {                                                                                  \
		if (has_loop)                                                                 \
			bpf_loop(times, step, arg, 0);                                        \
		else                                                                          \
			for (__u64 index = 0; index < (times_unrolled); index++)              \
				if (step(index, arg))                                         \
					break;                                                \
	} while (0)

/* Whatever its kind, a socket is read as a tcp_sock, which begins with all that others begin with. */
#define SK inet_conn.icsk_inet.sk
#define SKC SK.__sk_common

/* All of a connection but its local port. */
static __always_inline void read_conn(struct tcp_sock *tp, bool known, struct conn *conn)
{
	struct net *net = READ(known, tp, SKC.skc_net.net);

	if (READ(known, tp, SKC.skc_family) == AF_INET6) {
		BPF_CORE_READ_INTO(&conn->saddr, tp, SKC.skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&conn->daddr, tp, SKC.skc_v6_daddr.in6_u.u6_addr8);
	} else {
		v4_mapped(conn->saddr, READ(known, tp, SKC.skc_rcv_saddr));
		v4_mapped(conn->daddr, READ(known, tp, SKC.skc_daddr));
	}
	conn->dport = bpf_ntohs(READ(known, tp, SKC.skc_dport));
	conn->netns = READ(known, net, ns.inum);
	conn->cookie = READ(known, tp, SKC.skc_cookie.counter);
}

/* A destroyed connection has given skc_num back, but not forgotten the other. */
static __always_inline __u16 read_sport(struct tcp_sock *tp, bool known)
{
	__u16 num = READ(known, tp, SKC.skc_num);

	return num ?: bpf_ntohs(READ(known, tp, inet_conn.icsk_inet.inet_sport));
}

/*
 * The number of a flag of enum sock_flags, of this kernel. Where it has no such flag user space says
 * so, and the number that was right on all known kernels stands in.
 */
#define FLAG(name)                                                                                 \
	(bpf_core_enum_value_exists(enum sock_flags, name)                                         \
		 ? bpf_core_enum_value(enum sock_flags, name)                                      \
		 : (name))

static __always_inline bool has_flag(struct tcp_sock *tp, bool known, __u64 flag)
{
	return READ(known, tp, SKC.skc_flags) >> flag & 1;
}

/* Its program has closed it. */
static __always_inline bool is_orphan(struct tcp_sock *tp, bool known)
{
	return has_flag(tp, known, FLAG(SOCK_DEAD));
}

/* It carries an MPTCP connection. */
static __always_inline bool is_subflow(struct tcp_sock *tp, bool known)
{
	return bpf_core_field_exists(tp->is_mptcp) ? READ(known, tp, is_mptcp) : false;
}

static __always_inline __u16 read_flags(struct tcp_sock *tp, bool known)
{
	struct socket *socket = READ(known, tp, SK.sk_socket);
	__u8 shutdown = READ(known, tp, SK.sk_shutdown);
	bool kernel = known ? BPF_CORE_READ_BITFIELD(tp, SK.sk_kern_sock)
			    : BPF_CORE_READ_BITFIELD_PROBED(tp, SK.sk_kern_sock);

	return !!socket * SOCK_HAS_SOCKET | !!READ(known, socket, file) * SOCK_HAS_FILE |
	       has_flag(tp, known, FLAG(SOCK_DONE)) * SOCK_PEER_CLOSED |
	       is_orphan(tp, known) * SOCK_ORPHAN |
	       has_flag(tp, known, FLAG(SOCK_KEEPOPEN)) * SOCK_KEEPALIVE |
	       !!READ(known, tp, SKC.skc_num) * SOCK_BOUND |
	       kernel * SOCK_KERNEL |
	       (shutdown & RCV_SHUTDOWN) * SOCK_SHUT_RECEIVE |
	       (shutdown >> 1 & 1) * SOCK_SHUT_SEND;
}

/* How much the peer may still send: the kernel's tcp_receive_window(). */
static __always_inline __u32 receive_window(struct tcp_sock *tp, bool known)
{
	__u32 window = READ(known, tp, rcv_wup) + READ(known, tp, rcv_wnd) - READ(known, tp, rcv_nxt);

	return (__s32)window < 0 ? 0 : window;
}

/*
 * A listener's child keeps the interface that its SYN came by, in a field that no program can set on
 * a stream socket.
 */
static __always_inline bool is_child(struct tcp_sock *tp, bool known)
{
	if (READ(known, tp, inet_conn.icsk_inet.mc_index))
		return true;
	if (READ(known, tp, SKC.skc_family) != AF_INET6 ||
	    !bpf_core_field_exists(tp->inet_conn.icsk_inet.pinet6))
		return false;
	return BPF_CORE_READ(tp, inet_conn.icsk_inet.pinet6, mcast_oif);
}

static __always_inline __u16 read_tcp_flags(struct tcp_sock *tp, bool known)
{
	__u32 backlog = READ(known, tp, SK.sk_max_ack_backlog);
	__u32 mss = READ(known, tp, inet_conn.icsk_ack.rcv_mss);
	__u8 unanswered = READ(known, tp, inet_conn.icsk_retransmits) |
			  READ(known, tp, inet_conn.icsk_probes_out);
	__u8 state = READ(known, tp, SKC.skc_state);

	return read_flags(tp, known) | !!READ(known, tp, rcv_nxt) * SOCK_CONNECTED |
	       is_subflow(tp, known) * SOCK_SUBFLOW |
	       ((backlog && state != TCP_LISTEN) || is_child(tp, known)) * SOCK_ACCEPTED |
	       !!unanswered * SOCK_UNANSWERED |
	       (receive_window(tp, known) < mss) * SOCK_WINDOW_CLOSED;
}

static __always_inline void read_progress(struct tcp_sock *tp, bool known,
					  struct progress *progress)
{
	progress->copied_seq = READ(known, tp, copied_seq);
	progress->write_seq = READ(known, tp, write_seq);
	progress->snd_una = READ(known, tp, snd_una);
}

/*
 * The time comes first: what is read after it can be newer than the time says, but
 * never older, so that an earlier transition is known to be history.
 *
 * Returns false if it is no socket any more: memory that is about to be another one's has no state.
 */
static __always_inline bool read_common(struct tcp_sock *tp, bool known,
					struct sock_record *record)
{
	record->ktime = bpf_ktime_get_ns();
	record->jiffies = bpf_jiffies64();
	record->sock = (__u64)tp;
	record->state = READ(known, tp, SKC.skc_state);
	read_conn(tp, known, &record->conn);
	return record->state;
}

/* Returns false if it is no socket any more. */
static __always_inline bool read_sock(struct tcp_sock *tp, bool known, struct sock_record *record)
{
	if (!read_common(tp, known, record))
		return false;
	record->conn.sport = read_sport(tp, known);
	record->flags = read_tcp_flags(tp, known);
	record->err = READ(known, tp, SK.sk_err);
	read_progress(tp, known, &record->progress);
	record->unread = READ(known, tp, rcv_nxt) - record->progress.copied_seq;
	record->mstamp = READ(known, tp, tcp_mstamp);
	record->read_mstamp = READ(known, tp, rcvq_space.time);
	record->bytes_received = READ(known, tp, bytes_received);
	record->bytes_acked = READ(known, tp, bytes_acked);
	record->rcv_tstamp = READ(known, tp, rcv_tstamp);
	record->lrcvtime = READ(known, tp, inet_conn.icsk_ack.lrcvtime);
	record->lsndtime = READ(known, tp, lsndtime);
	/* Since 5.11 (9d9b1ee0b2d1). */
	if (bpf_core_field_exists(tp->inet_conn.icsk_probes_tstamp))
		record->probing_since = READ(known, tp, inet_conn.icsk_probes_tstamp);
	return true;
}

#endif
