// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * on_set_state (a tracepoint) says when a socket changes its state. The rest are
 * iterators, run one after the other for a scan:
 *
 *   scan_files     which process holds which socket, and which listener;
 *   walk_queues*   what waits in the accept queues of these listeners;
 *   scan_queued    tells of the latter;
 *   scan_netns     which network namespaces there are;
 *   scan_tcp       what of a network namespace's sockets none of them has seen.
 *
 * The first gives timing, the others give truth: the task that happens to run
 * when a FIN arrives has nothing to do with the socket.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>
#include "sockleak.h"

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_MPTCP 262
#define SOCKFS_MAGIC 0x534F434B
#define SHUTDOWN_MASK 3
#define RLIMIT_NOFILE 7
#define PF_EXITING 0x00000004
#define PF_KTHREAD 0x00200000
#define PROC_PID_INIT_INO 0xEFFFFFFCU
#define MAX_PID_NS_LEVEL 32
#define MPTCP_SUBFLOWS_MAX 8

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

/* Set by user space before the programs are loaded. */
const volatile __u32 watched_states = 1 << TCP_CLOSE_WAIT; /* a bit for each state's number */
const volatile __u32 transitions_of = 1 << TCP_CLOSE_WAIT; /* which states' edges are emitted */
const volatile __u32 pid_namespace = PROC_PID_INIT_INO;	   /* whose numbers user space reads */
const volatile __u64 wakeup_bytes = 1 << 20; /* wake the reader when so much waits in the ring */

/* Records that found no room in the ring. */
__u64 lost = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} ring SEC(".maps");

/* Puts the records' types into the object's BTF, from where the skeleton takes them. */
const enum record_kind *unused_record_kind __attribute__((unused));
const enum sock_flag *unused_sock_flag __attribute__((unused));
const enum transition_flag *unused_transition_flag __attribute__((unused));
const struct transition_record *unused_transition __attribute__((unused));
const struct sock_record *unused_sock __attribute__((unused));
const struct listener_record *unused_listener __attribute__((unused));
const struct process_record *unused_process __attribute__((unused));

static __always_inline __u32 in_set(__u32 set, __u8 state)
{
	return set >> (state & 31) & 1;
}

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

static __always_inline void count_lost(__u64 records)
{
	__sync_fetch_and_add(&lost, records);
}

/*
 * The tgid as user space sees it: in the PID namespace it lives in, which may be
 * a container's. 0 where the task is not visible there.
 */
static __always_inline __u32 visible_tgid(struct task_struct *task)
{
	struct pid *pid;
	struct upid *numbers;
	unsigned int level;

	if (pid_namespace == PROC_PID_INIT_INO)
		return BPF_CORE_READ(task, tgid);
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

static __always_inline void v4_mapped(__u8 out[16], __be32 addr)
{
	__u32 *words = (__u32 *)out;

	words[0] = 0;
	words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = addr;
}

/*
 * A field of what `p` points to. Where the verifier knows the type of the pointer it
 * is read in place; elsewhere through a helper, which takes ten times as long. A read
 * through a null pointer gives 0, either way. `known` is a constant.
 */
#define READ(known, p, field) ((known) ? (p)->field : BPF_CORE_READ(p, field))

/* Whether the kernel has a helper. Without it, the verifier drops the branch as dead. */
#define HAS_HELPER(name) bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_##name)

/* All of a connection but its local port. */
static __always_inline void read_conn(struct sock_common *skc, bool known, struct conn *conn)
{
	struct net *net = READ(known, skc, skc_net.net);

	if (READ(known, skc, skc_family) == AF_INET6) {
		BPF_CORE_READ_INTO(&conn->saddr, skc, skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&conn->daddr, skc, skc_v6_daddr.in6_u.u6_addr8);
	} else {
		v4_mapped(conn->saddr, READ(known, skc, skc_rcv_saddr));
		v4_mapped(conn->daddr, READ(known, skc, skc_daddr));
	}
	conn->dport = bpf_ntohs(READ(known, skc, skc_dport));
	conn->netns = READ(known, net, ns.inum);
	conn->cookie = READ(known, skc, skc_cookie.counter);
}

/* Not from skc_num: a destroyed connection has given that back, but not forgotten this. */
static __always_inline __u16 read_sport(struct inet_sock *inet, bool known)
{
	return bpf_ntohs(READ(known, inet, inet_sport));
}

static __always_inline __u16 read_flags(struct sock *sk, bool known)
{
	struct socket *socket = READ(known, sk, sk_socket);
	unsigned long bits = READ(known, sk, __sk_common.skc_flags);
	__u8 shutdown = READ(known, sk, sk_shutdown);

	return !!socket * SOCK_HAS_SOCKET | !!READ(known, socket, file) * SOCK_HAS_FILE |
	       (bits >> SOCK_DONE & 1) * SOCK_PEER_CLOSED |
	       (bits >> SOCK_DEAD & 1) * SOCK_ORPHAN |
	       BPF_CORE_READ_BITFIELD_PROBED(sk, sk_kern_sock) * SOCK_KERNEL |
	       (shutdown == SHUTDOWN_MASK) * SOCK_SHUT_BOTH;
}

static __always_inline __u16 read_tcp_flags(struct tcp_sock *tp, bool known)
{
	__u8 subflow = 0;

	if (bpf_core_field_exists(tp->is_mptcp))
		subflow = READ(known, tp, is_mptcp);
	return read_flags((struct sock *)tp, known) | !!READ(known, tp, rcv_nxt) * SOCK_CONNECTED |
	       !!subflow * SOCK_SUBFLOW;
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
	return newstate == TCP_LAST_ACK || (newstate == TCP_CLOSE && flags & SOCK_SHUT_BOTH);
}

/*
 * With the edges of CLOSE_WAIT goes the end of a connection that both sides have shut
 * down, while its descriptor is open: no close() will ever be seen of that.
 */
static __always_inline bool is_wanted(int oldstate, int newstate, __u16 flags)
{
	if (in_set(transitions_of, oldstate) || in_set(transitions_of, newstate))
		return true;
	return newstate == TCP_CLOSE && in_set(transitions_of, TCP_CLOSE_WAIT) &&
	       (flags & (SOCK_PEER_CLOSED | SOCK_HAS_FILE | SOCK_ORPHAN)) ==
		       (SOCK_PEER_CLOSED | SOCK_HAS_FILE);
}

static __always_inline void emit_transition(struct inet_sock *inet, bool known, int oldstate,
					    int newstate, __u16 flags)
{
	struct sock *sk = (struct sock *)inet;
	struct transition_record *record;

	if (!is_wanted(oldstate, newstate, flags))
		return;
	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		count_lost(1);
		return;
	}
	__builtin_memset(record, 0, sizeof(*record));
	record->kind = RECORD_TRANSITION;
	record->sock = (__u64)sk;
	record->ktime = bpf_ktime_get_ns();
	record->oldstate = oldstate;
	record->newstate = newstate;
	record->sock_flags = flags;
	record->err = READ(known, sk, sk_err);
	read_conn(&sk->__sk_common, known, &record->conn);
	record->conn.sport = read_sport(inet, known);
	if (made_by_current(oldstate, newstate, flags)) {
		struct task_struct *task = (struct task_struct *)bpf_get_current_task();
		unsigned int task_flags = BPF_CORE_READ(task, flags);

		/* A kernel thread that puts the last reference acts for somebody else. */
		if (!(task_flags & PF_KTHREAD)) {
			record->flags = ACTOR | (task_flags & PF_EXITING ? ACTOR_EXITING : 0);
			record->tgid = visible_tgid(task);
			BPF_CORE_READ_STR_INTO(&record->comm, task, group_leader, comm);
		}
	}
	bpf_ringbuf_submit(record, wakeup());
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_set_state, struct sock *sk, int oldstate, int newstate)
{
	/* Most transitions end here. */
	if (!in_set(transitions_of, oldstate) && !in_set(transitions_of, newstate) &&
	    newstate != TCP_CLOSE)
		return 0;
	if (sk->sk_protocol == IPPROTO_MPTCP) {
		emit_transition((struct inet_sock *)sk, false, oldstate, newstate,
				read_flags(sk, true) | SOCK_MPTCP);
	} else if (sk->sk_protocol != IPPROTO_TCP) {
		return 0;
	} else if (HAS_HELPER(skc_to_tcp_sock)) { /* Since 5.9 (478cfbdf5f13). */
		struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

		if (tp)
			emit_transition(&tp->inet_conn.icsk_inet, true, oldstate, newstate,
					read_tcp_flags(tp, true));
	} else {
		emit_transition((struct inet_sock *)sk, false, oldstate, newstate,
				read_tcp_flags((struct tcp_sock *)sk, false));
	}
	return 0;
}

/*
 * Is this a socket that user space asked for? With CLOSE_WAIT goes what a RST
 * turns it into: CLOSE, on a connection whose peer had said goodbye before.
 */
static __always_inline __u32 is_watched(struct sock_common *skc, bool known)
{
	unsigned long flags = READ(known, skc, skc_flags);
	__u8 state = READ(known, skc, skc_state);

	return in_set(watched_states, state) |
	       (in_set(watched_states, TCP_CLOSE_WAIT) & in_set(1 << TCP_CLOSE, state) &
		flags >> SOCK_DONE);
}

/*
 * The time comes first: what is read after it can be newer than the time says, but
 * never older, so that an earlier transition is known to be history.
 */
static __always_inline void read_common(struct sock_common *skc, bool known,
					struct sock_record *record)
{
	record->ktime = bpf_ktime_get_ns();
	record->jiffies = bpf_jiffies64();
	record->sock = (__u64)skc;
	record->state = READ(known, skc, skc_state);
	read_conn(skc, known, &record->conn);
}

static __always_inline void read_sock(struct tcp_sock *tp, bool known, struct sock_record *record)
{
	struct sock *sk = (struct sock *)tp;

	read_common(&sk->__sk_common, known, record);
	record->conn.sport = read_sport(&tp->inet_conn.icsk_inet, known);
	record->flags = read_tcp_flags(tp, known);
	record->err = READ(known, sk, sk_err);
	record->unread = READ(known, tp, rcv_nxt) - READ(known, tp, copied_seq);
	record->mstamp = READ(known, tp, tcp_mstamp);
	record->rcv_tstamp = READ(known, tp, rcv_tstamp);
	record->lrcvtime = READ(known, tp, inet_conn.icsk_ack.lrcvtime);
	record->lsndtime = READ(known, tp, lsndtime);
}

/*
 * Accept queues. A connection that waits to be accepted has no descriptor; it hangs
 * on its listener. An iterator can hand over 32 KiB for one file, and a queue may be
 * longer; and two processes may share a listener. So scan_files only notes listeners,
 * walk_queues notes what waits in their queues, and scan_queued reports that one by
 * one. User space empties both maps.
 */
#define NOTED_MAX (1 << 16)
/* What the verifier of a kernel without bpf_loop() can follow. */
#define QUEUE_MAX_UNROLLED (1 << 10)

struct noted {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NOTED_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);   /* struct sock * */
	__type(value, __u64); /* of a queued one: its listener */
};
struct noted listeners SEC(".maps");
struct noted queued SEC(".maps");

/* A socket that finds no room is as lost as an event. Negative is an error. */
#define note(map, sk, value) \
	count_lost((__u64)bpf_map_update_elem(map, sk, value, BPF_ANY) >> 63)

struct queue_walk {
	struct request_sock *next;
	__u64 listener;
};

/*
 * One step along the queue; 1 at its end. As short as can be: it may be unrolled, and
 * the verifier takes a thousand of them one by one. Nobody holds the queue's lock: a connection
 * accepted just now may have taken its request along, and what follows then is not
 * this queue. User space checks that what comes belongs to the listener.
 */
static long note_queued(__u32 index, struct queue_walk *walk)
{
	struct request_sock *request = walk->next;
	__u64 sk;

	if (!request)
		return 1;
	walk->next = BPF_CORE_READ(request, dl_next);
	sk = (__u64)BPF_CORE_READ(request, sk);
	note(&queued, &sk, &walk->listener);
	return 0;
}

static __always_inline struct queue_walk start_walk(__u64 listener)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)listener;

	return (struct queue_walk){
		.next = BPF_CORE_READ(icsk, icsk_accept_queue.rskq_accept_head),
		.listener = listener,
	};
}

/* One of these two is loaded: the first where the kernel has bpf_loop() (5.17, e6f2dd0f8067). */
SEC("iter/bpf_map_elem")
int walk_queues(struct bpf_iter__bpf_map_elem *ctx)
{
	const __u64 *listener = ctx->key;
	struct queue_walk walk;

	if (!listener)
		return 0;
	walk = start_walk(*listener);
	bpf_loop(NOTED_MAX, note_queued, &walk, 0);
	return 0;
}

SEC("iter/bpf_map_elem")
int walk_queues_unrolled(struct bpf_iter__bpf_map_elem *ctx)
{
	const __u64 *listener = ctx->key;
	struct queue_walk walk;

	if (!listener)
		return 0;
	walk = start_walk(*listener);
	for (__u32 i = 0; i < QUEUE_MAX_UNROLLED; i++)
		if (note_queued(i, &walk))
			break;
	return 0;
}

SEC("iter/bpf_map_elem")
int scan_queued(struct bpf_iter__bpf_map_elem *ctx)
{
	struct sock_record record = { .kind = RECORD_QUEUED };
	__u64 *sk = ctx->key, *listener = ctx->value;

	if (!sk || !listener || !is_watched((struct sock_common *)*sk, false))
		return 0;
	record.listener = *listener;
	read_sock((struct tcp_sock *)*sk, false, &record);
	bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}

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
	record.conn.sport = read_sport((struct inet_sock *)msk, false);
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

	if (file->f_inode->i_sb->s_magic != SOCKFS_MAGIC)
		return true;
	/* Since 5.11 (4f19cab76136). */
	if (HAS_HELPER(sock_from_file)) {
		struct tcp_sock *tp;

		socket = bpf_sock_from_file(file);
		if (!socket || !socket->sk)
			return true;
		tp = bpf_skc_to_tcp_sock(socket->sk);
		if (tp)
			return visit_known(ctx, tp, visible_tgid(task));
	}
	socket = file->private_data;
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

/*
 * The network namespaces that somebody lives in. /proc tells only of processes that
 * we may look at, and silence about the others would pass for completeness.
 */
SEC("iter/task")
int scan_netns(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	__u32 netns;

	if (!task)
		return 0;
	netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	bpf_seq_write(ctx->meta->seq, &netns, sizeof(netns));
	return 0;
}

/*
 * Sees one network namespace: that of the task that opens the iterator. A socket with a
 * file nearly always has a descriptor, which scan_files has seen: such sockets are only
 * added up, unless user space asks for them because the sums do not agree.
 */
__u8 tell_all = 0;
__u64 passed_over = 0; /* the sum of their addresses: another set has another sum */

/* The kernel keeps no more than this of a connection, for a while or (a request) before it is one. */
static __always_inline bool visit_mini(struct sock_common *skc, struct sock_record *record)
{
	struct inet_timewait_sock *tw = (struct inet_timewait_sock *)skc;
	__u8 state = skc->skc_state;

	/* FIN_WAIT2 without a program is kept as TIME_WAIT, too. */
	if (state == TCP_TIME_WAIT)
		state = BPF_CORE_READ(tw, tw_substate);
	if (!in_set(watched_states, state))
		return false;
	read_common(skc, true, record);
	record->conn.sport = skc->skc_num;
	record->state = state;
	record->flags = SOCK_ORPHAN;
	return true;
}

static __always_inline bool visit_full(struct tcp_sock *tp, struct sock_record *record)
{
	struct sock *sk = &tp->inet_conn.icsk_inet.sk;
	__u64 address;

	if (!is_watched(&sk->__sk_common, true))
		return false;
	if (!tell_all && sk->sk_socket->file) {
		/* As a number: the verifier does not let us add up what it knows to be pointers. */
		bpf_probe_read_kernel(&address, sizeof(address), &sk);
		passed_over += address;
		return false;
	}
	read_sock(tp, true, record);
	return true;
}

SEC("iter/tcp")
int scan_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_record record = { .kind = RECORD_UNHELD };
	struct sock_common *skc = ctx->sk_common;
	struct tcp_sock *tp;

	if (!skc)
		return 0;
	tp = bpf_skc_to_tcp_sock(skc);
	if (tp ? visit_full(tp, &record) : visit_mini(skc, &record))
		bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
