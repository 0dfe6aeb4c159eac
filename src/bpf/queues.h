/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Accept queues. A connection that waits to be accepted has no descriptor; it hangs
 * on its listener. An iterator can hand over 32 KiB for one file, and a queue may be
 * longer; and two processes may share a listener. So scan_files only notes listeners,
 * walk_queues notes what waits in their queues, and scan_queued reports that one by
 * one. User space empties both maps.
 */
#ifndef SOCKLEAK_QUEUES_H
#define SOCKLEAK_QUEUES_H

#include "read.h"

#define LISTENERS_MAX (1 << 12)
#define QUEUED_MAX (1 << 16)
/* What the verifier of a kernel without bpf_loop() can follow. */
#define QUEUE_MAX_UNROLLED (1 << 10)

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LISTENERS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);   /* struct sock * */
	__type(value, __u64); /* the same */
} listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, QUEUED_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);   /* struct sock * */
	__type(value, __u64); /* its listener */
} queued SEC(".maps");

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
static __always_inline long note_queued(__u64 index, struct queue_walk *walk)
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
	struct tcp_sock *tp = (struct tcp_sock *)listener;

	return (struct queue_walk){
		.next = BPF_CORE_READ(tp, inet_conn.icsk_accept_queue.rskq_accept_head),
		.listener = listener,
	};
}

/* One of these two is loaded: the first where the kernel has bpf_loop(). */
SEC("iter/bpf_map_elem")
int walk_queues(struct bpf_iter__bpf_map_elem *ctx)
{
	const __u64 *listener = ctx->key;
	struct queue_walk walk;

	if (!listener)
		return 0;
	walk = start_walk(*listener);
	REPEAT(true, QUEUED_MAX, QUEUE_MAX_UNROLLED, note_queued, &walk);
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
	REPEAT(false, QUEUED_MAX, QUEUE_MAX_UNROLLED, note_queued, &walk);
	return 0;
}

SEC("iter/bpf_map_elem")
int scan_queued(struct bpf_iter__bpf_map_elem *ctx)
{
	struct sock_record record = { .kind = RECORD_QUEUED };
	__u64 *sk = ctx->key, *listener = ctx->value;

	if (!sk || !listener || !is_watched((struct tcp_sock *)*sk, false))
		return 0;
	record.listener = *listener;
	read_sock((struct tcp_sock *)*sk, false, &record);
	bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}

#endif
