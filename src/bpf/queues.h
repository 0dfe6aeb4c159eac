/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Accept queues. A connection that waits to be accepted has no descriptor; it hangs on its
 * listener. An iterator can write 32 KiB for one object, a queue may be longer, and two processes
 * may share a listener. So the scan of files only notes listeners, walk_queues notes what waits in
 * their queues, and report_queued writes a record for each. User space empties both maps.
 */
#ifndef SOCKLEAK_QUEUES_H
#define SOCKLEAK_QUEUES_H

#include "held_back.h"
#include "read.h"

#define LISTENERS_MAX (1 << 16)
#define QUEUED_MAX (1 << 16)
/* Steps that the verifier of a kernel without bpf_loop() can follow. */
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

/* Listeners, and what waits in queues, that found no room in these maps. User space resets it. */
__u64 queues_lost = 0;

/* bpf_map_update_elem() returns a negative number where it fails. */
#define note(map, sk, value)                                                                      \
	__sync_fetch_and_add(&queues_lost, (__u64)bpf_map_update_elem(map, sk, value, BPF_ANY) >> 63)

struct queue_walk {
	struct request_sock *next;
	__u64 listener;
};

/*
 * Takes one step along the queue; returns 1 at its end. As short as can be: where it is unrolled,
 * the verifier follows a thousand of them one by one. Nobody holds the queue's lock: a connection
 * that was accepted just now may have taken its request along, and what follows then is another
 * queue. User space checks that each connection belongs to its listener.
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

/* Whatever its state, a connection in a queue is reported. */
SEC("iter/bpf_map_elem")
int report_queued(struct bpf_iter__bpf_map_elem *ctx)
{
	struct sock_record record = { .kind = RECORD_QUEUED };
	__u64 *key = ctx->key, *listener = ctx->value;
	struct tcp_sock *tp;

	if (!key || !listener)
		return 0;
	tp = (struct tcp_sock *)*key;
	record.listener = *listener;
	/* It may have been accepted, closed and freed since it was noted: then this is anything. */
	if (read_sock(tp, false, &record) && record.state <= TCP_NEW_SYN_RECV &&
	    is_still(tp, false, record.state))
		bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}

#endif
