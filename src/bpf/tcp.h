/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What of a network namespace's sockets no process holds. */
#ifndef SOCKLEAK_TCP_H
#define SOCKLEAK_TCP_H

#include "read.h"

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
 * Sees one network namespace: that of the task that opens the iterator. What a struct
 * socket refers to nearly always has a descriptor, which scan_files sees: such sockets are
 * only added up, unless user space asks for them because the sums do not agree.
 */
__u8 tell_all = 0;

/* What the pass at hand has not told. One runs at a time. */
static struct {
	__u64 session;
	struct passed_over_record record;
} passed_over;

static __always_inline bool pass_over(struct bpf_iter_meta *meta, struct sock *sk)
{
	struct net *net = sk->__sk_common.skc_net.net;
	__u64 address;

	if (passed_over.session != meta->session_id) {
		passed_over.session = meta->session_id;
		passed_over.record.kind = RECORD_PASSED_OVER;
		passed_over.record.netns = net->ns.inum;
		passed_over.record.sum = 0;
	}
	/* As a number: the verifier does not let us add up what it knows to be pointers. */
	bpf_probe_read_kernel(&address, sizeof(address), &sk);
	passed_over.record.sum += address;
	return false;
}

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

static __always_inline bool visit_full(struct bpf_iter_meta *meta, struct tcp_sock *tp,
				       struct sock_record *record)
{
	struct sock *sk = &tp->inet_conn.icsk_inet.sk;

	if (!is_watched(&sk->__sk_common, true))
		return false;
	if (!tell_all && sk->sk_socket)
		return pass_over(meta, sk);
	read_sock(tp, true, record);
	return true;
}

SEC("iter/tcp")
int scan_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_record record = { .kind = RECORD_UNHELD };
	struct bpf_iter_meta *meta = ctx->meta;
	struct sock_common *skc = ctx->sk_common;
	struct tcp_sock *tp;

	if (!skc) {
		if (passed_over.session == meta->session_id)
			bpf_seq_write(meta->seq, &passed_over.record, sizeof(passed_over.record));
		return 0;
	}
	tp = bpf_skc_to_tcp_sock(skc);
	if (tp ? visit_full(meta, tp, &record) : visit_mini(skc, &record))
		bpf_seq_write(meta->seq, &record, sizeof(record));
	return 0;
}

#endif
