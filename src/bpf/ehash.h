/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Connections that no process holds. Every connection is in a hash table of the kernel's, the
 * ehash; one serves all network namespaces but those that have asked for their own (6.1 and
 * later). It is walked as the kernel itself looks a connection up: under RCU, without locks. The
 * iterator that the kernel has for it, iter/tcp, shows one network namespace, walks the whole
 * table for that, and locks every socket.
 */
#ifndef SOCKLEAK_EHASH_H
#define SOCKLEAK_EHASH_H

#include "candidate.h"
#include "held_back.h"
#include "read.h"

#define STRIDES (1 << 14) /* steps of a walk */
#define STRIDE_MAX 32	  /* slots in a step, at the most; by default, tables have 1 to 32 for each */
/* Sockets in a slot's chain: on average there are less than 32, for want of memory. */
#define CHAIN_MAX (1 << 16)
#define CHAIN_MAX_UNROLLED 64
/* Sockets that are reported, or summed, in a step: their records fit into an iterator's buffer. */
#define FOUND_MAX 192
#define FOUND_MAX_UNROLLED 64

/* An iterator calls scan_ehash for each element. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STRIDES);
	__type(key, __u32);
	__type(value, __u8);
} strides SEC(".maps");

/*
 * A socket with a struct socket nearly always has a descriptor, and the scan of files reports it.
 * The walk only sums the addresses of such sockets, except in groups where user space has found
 * that the sums differ.
 */
__u8 report_all[GROUPS] = {};
/* User space sets all of these to 0 before a walk. */
__u64 sums[GROUPS] = {};
/* Slots that this kernel does not let us walk through to the end, */
__u32 unwalked = 0;
/* slots from which each try was led astray, */
__u32 strayed = 0;
/* and slots with more than CHAIN_MAX sockets. */
__u32 overlong = 0;

/* The table to walk through. User space writes it before each read of the iterator. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct table_walk);
} walked SEC(".maps");

#define group_of(sk) (((sk) >> GROUP_SHIFT) % GROUPS)

/*
 * The step at hand. One walk runs at a time. What is volatile is kept in memory, where the
 * verifier does not follow its values: in registers it would be another state each time.
 */
static struct {
	__u64 *ehash; /* the table: asked for in the first step, and the same in all */
	__u64 mask;
	__u64 slots[STRIDE_MAX];
	volatile __u64 node; /* the next one of the chain at hand: a number, and no pointer */
	volatile __u32 count;
	__u64 found[FOUND_MAX]; /* struct sock *, + SUMMED; 0: neither reported nor summed */
	volatile __u32 skip; /* sockets that earlier walks have visited */
	volatile __u32 unwalked;
	volatile __u32 strayed;
	volatile __u32 overlong;
	volatile __u32 more; /* there are sockets that only another walk has room for */
	volatile bool full;
	volatile __u64 prefetched; /* nobody reads this */
} step;

#define SUMMED 1

/* A small remainder of a connection after its end, or a request before its beginning. */
static __always_inline bool is_mini(__u8 state)
{
	return in_set(1 << TCP_TIME_WAIT | 1 << TCP_NEW_SYN_RECV, state);
}

/* FIN_WAIT2 without a program is kept as TIME_WAIT, too. */
static __always_inline __u8 mini_state(struct tcp_sock *tp, __u8 state)
{
	struct inet_timewait_sock *tw = (struct inet_timewait_sock *)tp;

	return state == TCP_TIME_WAIT ? BPF_CORE_READ(tw, tw_substate) : state;
}

/* A socket in the table, and a field of it. */
#define HASHED_SOCK(tp) (has_cast ? CAST(tcp_sock, tp) : (tp))
#define HASHED(tp, field) (has_cast ? CAST(tcp_sock, tp)->field : BPF_CORE_READ(tp, field))

/* Visits a socket in the table. Returns whether there was room for it. */
static __always_inline bool visit_hashed(struct tcp_sock *tp)
{
	__u8 state = HASHED(tp, SKC.skc_state);
	__u32 count = step.count;

	if (is_mini(state) ? !in_set(watched_states, mini_state(tp, state))
			   : !is_wanted_in_hash(HASHED_SOCK(tp), has_cast, state))
		return true;
	if (step.skip) {
		step.skip--;
		return true;
	}
	if (count >= FOUND_MAX)
		return false;
	step.found[count] = (__u64)tp;
	step.count = count + 1;
	return true;
}

static __always_inline struct tcp_sock *sock_at(__u64 node)
{
	return (void *)node - bpf_core_field_offset(struct tcp_sock, SKC.skc_nulls_node);
}

enum outcome {
	OVERLONG, /* the chain goes on after CHAIN_MAX sockets */
	ENDED,
	STRAYED,
	NO_ROOM,
};

struct chain {
	__u32 slot;
	__u32 outcome;
};

/* A chain ends with an odd number: its slot's, doubled. 1 at the end, right or wrong. */
static __always_inline long visit_node(__u64 index, struct chain *chain)
{
	struct tcp_sock *tp;
	__u64 node = step.node;

	if (node & 1) {
		chain->outcome = node >> 1 == chain->slot ? ENDED : STRAYED;
		return 1;
	}
	tp = sock_at(node);
	if (!visit_hashed(tp)) {
		chain->outcome = NO_ROOM;
		return 1;
	}
	step.node = (__u64)HASHED(tp, SKC.skc_nulls_node.next);
	return 0;
}

/*
 * Visits what a slot leads to. A socket may move to another slot's chain while we are at it,
 * and take us along: then nothing has happened.
 */
static __always_inline int walk(__u64 node, __u32 slot, bool has_loop)
{
	struct chain chain = { .slot = slot, .outcome = OVERLONG };
	__u32 count_before = step.count, skip_before = step.skip;

	step.node = node;
	REPEAT(has_loop, CHAIN_MAX, CHAIN_MAX_UNROLLED, visit_node, &chain);
	if (chain.outcome == STRAYED) {
		step.count = count_before;
		step.skip = skip_before;
	}
	return chain.outcome;
}

/* Not static: such a function is verified once, and not for each of its calls. */
__noinline int walk_chain(__u64 node, __u32 slot)
{
	return walk(node, slot, true);
}

__noinline int walk_chain_unrolled(__u64 node, __u32 slot)
{
	return walk(node, slot, false);
}

struct stride {
	struct seq_file *seq;
	__u64 *slots;
	__u32 first;
	__u32 length;
};

/* Loads from the first sockets of a step's chains, so that the processor waits for all together. */
static __always_inline long prefetch_slot(__u64 index, struct stride *stride)
{
	struct tcp_sock *tp;

	if (index >= STRIDE_MAX || index >= stride->length)
		return 1;
	if (step.slots[index] & 1)
		return 0;
	tp = sock_at(step.slots[index]);
	step.prefetched = HASHED(tp, SKC.skc_state) + (__u64)HASHED(tp, SKC.skc_nulls_node.next);
	step.prefetched = (__u64)HASHED(tp, SK.sk_socket);
	return 0;
}

/* A walk that strays is tried again: so often, beside any churn, that it comes to the end. */
#define TRIES 16
#define TRIES_UNROLLED 2

struct tries {
	__u64 *at;
	__u64 node;
	__u32 slot;
	int outcome;
};

static __always_inline long walk_slot_at(__u64 index, struct tries *tries, bool has_loop)
{
	__u64 node = tries->node;

	if (index)
		bpf_probe_read_kernel(&node, sizeof(node), tries->at);
	tries->outcome = has_loop ? walk_chain(node, tries->slot)
				  : walk_chain_unrolled(node, tries->slot);
	return tries->outcome != STRAYED;
}

static __always_inline long walk_slot(__u64 index, struct tries *tries)
{
	return walk_slot_at(index, tries, true);
}

static __always_inline long walk_slot_unrolled(__u64 index, struct tries *tries)
{
	return walk_slot_at(index, tries, false);
}

static __always_inline long visit_slot_at(__u64 index, struct stride *stride, bool has_loop)
{
	struct tries tries = { .slot = stride->first + index };

	if (index >= STRIDE_MAX || index >= stride->length)
		return 1;
	tries.node = step.slots[index];
	if (tries.node & 1)
		return 0;
	tries.at = stride->slots + tries.slot;
	if (has_loop)
		REPEAT(true, TRIES, TRIES, walk_slot, &tries);
	else
		REPEAT(false, TRIES, TRIES_UNROLLED, walk_slot_unrolled, &tries);
	if (tries.outcome == STRAYED)
		step.strayed++;
	else if (tries.outcome != ENDED && !has_loop)
		step.unwalked++;
	else if (tries.outcome == OVERLONG)
		step.overlong++;
	else if (tries.outcome == NO_ROOM)
		step.more = 1;
	/* Another walk begins where this one had no more room. */
	return step.more != 0;
}

static __always_inline long visit_slot(__u64 index, struct stride *stride)
{
	return visit_slot_at(index, stride, true);
}

static __always_inline long visit_slot_unrolled(__u64 index, struct stride *stride)
{
	return visit_slot_at(index, stride, false);
}

/*
 * Decides which of the found sockets are only summed. A loop of its own, so that the processor
 * waits for their loads together, too.
 */
static __always_inline long sort_found(__u64 index, struct stride *stride)
{
	struct tcp_sock *tp;
	__u8 state;

	if (index >= FOUND_MAX || index >= step.count)
		return 1;
	tp = (struct tcp_sock *)step.found[index];
	state = HASHED(tp, SKC.skc_state);
	if (is_mini(state) || !HASHED(tp, SK.sk_socket) || report_all[group_of((__u64)tp)])
		return 0;
	/* Accepted just now, a socket in another state counts no more. */
	step.found[index] = is_summed(state) ? (__u64)tp + SUMMED : 0;
	return 0;
}

static struct sock_record unheld;

/* Reads a socket, if it is still wanted. */
__noinline int read_unheld(void)
{
	struct tcp_sock *tp = (struct tcp_sock *)unheld.sock;
	__u8 state = BPF_CORE_READ(tp, SKC.skc_state);

	__builtin_memset(&unheld, 0, sizeof(unheld));
	unheld.kind = RECORD_UNHELD;
	if (!is_mini(state)) {
		if (!is_wanted_in_hash(tp, false, state))
			return 0;
		return read_sock(tp, false, &unheld) && is_still(tp, false, unheld.state);
	}
	read_common(tp, false, &unheld);
	unheld.conn.sport = BPF_CORE_READ(tp, SKC.skc_num);
	unheld.state = mini_state(tp, state);
	unheld.flags = SOCK_ORPHAN;
	return in_set(watched_states, unheld.state);
}

static __always_inline long report_found(__u64 index, struct stride *stride)
{
	if (index >= FOUND_MAX || index >= step.count)
		return 1;
	unheld.sock = step.found[index];
	if (!unheld.sock || unheld.sock & SUMMED || !read_unheld() ||
	    !bpf_seq_write(stride->seq, &unheld, sizeof(unheld)))
		return 0;
	step.full = true;
	return 1;
}

static __always_inline long sum_found(__u64 index, struct stride *stride)
{
	__u64 sk;

	if (index >= FOUND_MAX || index >= step.count)
		return 1;
	sk = step.found[index];
	if (sk & SUMMED)
		sums[group_of(sk)] += sk - SUMMED;
	return 0;
}

static __always_inline int walk_stride(struct bpf_iter__bpf_map_elem *ctx, struct table_walk *walk,
				       bool has_loop)
{
	struct stride stride = { .seq = ctx->meta->seq };
	const __u32 *key = ctx->key;
	__u64 length = step.mask / STRIDES + 1;
	__u64 first;

	if (!key)
		return 0;
	first = *key * length;
	/* The table has come to its end: the read ends, too, and user space reads no more. */
	if (first > step.mask)
		return 1;
	step.count = 0;
	step.skip = walk->skip;
	step.unwalked = 0;
	step.strayed = 0;
	step.overlong = 0;
	step.more = 0;
	step.full = false;
	barrier_var(length); /* or clang checks one register, and uses another */
	if (length > STRIDE_MAX) {
		step.unwalked = length - STRIDE_MAX;
		length = STRIDE_MAX;
	}
	stride.slots = step.ehash;
	stride.first = first;
	stride.length = length;
	bpf_probe_read_kernel(step.slots, length * sizeof(__u64), stride.slots + first);
	if (has_loop && has_cast)
		REPEAT(true, STRIDE_MAX, STRIDE_MAX, prefetch_slot, &stride);
	if (has_loop)
		REPEAT(true, STRIDE_MAX, STRIDE_MAX, visit_slot, &stride);
	else
		REPEAT(false, STRIDE_MAX, STRIDE_MAX, visit_slot_unrolled, &stride);
	if (!has_loop && step.count > FOUND_MAX_UNROLLED)
		step.unwalked++;
	REPEAT(has_loop, FOUND_MAX, FOUND_MAX_UNROLLED, sort_found, &stride);
	REPEAT(has_loop, FOUND_MAX, FOUND_MAX_UNROLLED, report_found, &stride);
	if (step.full) /* The iterator shows this step again: nothing has been counted yet. */
		return 0;
	REPEAT(has_loop, FOUND_MAX, FOUND_MAX_UNROLLED, sum_found, &stride);
	unwalked += step.unwalked;
	strayed += step.strayed;
	overlong += step.overlong;
	if (step.more)
		walk->more = 1;
	return 0;
}

static __always_inline bool is_first(struct bpf_iter__bpf_map_elem *ctx)
{
	const __u32 *key = ctx->key;

	return key && *key == 0;
}

static __always_inline void enter(struct inet_hashinfo *table)
{
	step.ehash = (__u64 *)BPF_CORE_READ(table, ehash);
	step.mask = BPF_CORE_READ(table, ehash_mask);
}

static __always_inline struct table_walk *table_walk(void)
{
	__u32 only = 0;

	return bpf_map_lookup_elem(&walked, &only);
}

/* The namespace in which the iterator is read. */
static __always_inline struct net *current_net(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	return BPF_CORE_READ(task, nsproxy, net_ns);
}

#define NET_NODE(net) ((__u64)(net) + bpf_core_field_offset(struct net, list))
#define NET_AT(node) ((struct net *)((node)-bpf_core_field_offset(struct net, list)))

/*
 * True if a network namespace is still in the kernel's list of all. As long as this run of the
 * program lasts its table then stays, too: cleanup_net() takes it from the list, waits for the
 * end of what runs under RCU, as we do, and only then frees it.
 */
static __always_inline bool is_listed(struct net *net, __u32 inode)
{
	return (__u64)BPF_CORE_READ(net, list.next, prev) == NET_NODE(net) &&
	       BPF_CORE_READ(net, ns.inum) == inode;
}

SEC("iter/bpf_map_elem")
int scan_ehash(struct bpf_iter__bpf_map_elem *ctx)
{
	struct table_walk *walk = table_walk();
	struct net *net = current_net();

	if (!walk)
		return 0;
	if (walk->net) {
		net = (struct net *)walk->net;
		/* Nobody has a socket in a namespace that is gone. */
		if (!is_listed(net, walk->inode))
			return 1;
	}
	if (is_first(ctx))
		enter(BPF_CORE_READ(net, ipv4.tcp_death_row.hashinfo));
	return walk_stride(ctx, walk, true);
}

SEC("iter/bpf_map_elem")
int scan_ehash_apart(struct bpf_iter__bpf_map_elem *ctx)
{
	struct net___apart *net = (void *)current_net();
	struct table_walk *walk = table_walk();

	if (!walk)
		return 0;
	if (is_first(ctx))
		enter(BPF_CORE_READ(net, ipv4.tcp_death_row, hashinfo));
	return walk_stride(ctx, walk, true);
}

SEC("iter/bpf_map_elem")
int scan_ehash_unrolled(struct bpf_iter__bpf_map_elem *ctx)
{
	struct table_walk *walk = table_walk();

	if (!walk)
		return 0;
	if (is_first(ctx))
		enter(BPF_CORE_READ(current_net(), ipv4.tcp_death_row.hashinfo));
	return walk_stride(ctx, walk, false);
}

#define NETNS_MAX (1 << 20)
#define NETNS_PER_STEP 1024 /* their records fit into an iterator's buffer */

/* The step at hand; in memory, as above. */
static struct {
	__u64 first; /* nodes of the list */
	__u64 node;
	__u64 ops; /* what all network namespaces have in common, and the head of the list has not */
	volatile __u32 skip;
	volatile __u32 seen;
	volatile __u32 reported;
} netns_list;

static __always_inline __u64 ops_of(struct net *net)
{
	return (__u64)BPF_CORE_READ(net, ns.ops);
}

static long report_netns(__u64 index, struct seq_file **seq)
{
	struct net *net = NET_AT(netns_list.node);
	struct netns_record record = {};
	__u32 seen = netns_list.seen;

	if (ops_of(net) == netns_list.ops) {
		netns_list.seen = seen + 1;
		if (seen >= netns_list.skip) {
			record.net = (__u64)net;
			record.inode = BPF_CORE_READ(net, ns.inum);
			record.has_ehash = BPF_CORE_READ(net, ipv4.tcp_death_row.hashinfo, pernet);
			record.is_initial = ops_of(NET_AT((__u64)BPF_CORE_READ(net, list.prev))) !=
					    netns_list.ops;
			bpf_seq_write(*seq, &record, sizeof(record));
			netns_list.reported++;
		}
	}
	netns_list.node = (__u64)BPF_CORE_READ(net, list.next);
	return !netns_list.node || netns_list.node == netns_list.first ||
	       netns_list.reported >= NETNS_PER_STEP;
}

/*
 * Names all network namespaces, by the kernel's own list: also those that only a descriptor, a mount
 * or a socket keeps, and that no process lives in. Since the list goes round, it can begin anywhere.
 */
SEC("iter/bpf_map_elem")
int scan_netns(struct bpf_iter__bpf_map_elem *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct net *net = current_net();
	const __u32 *key = ctx->key;

	if (!key)
		return 0;
	netns_list.first = NET_NODE(net);
	netns_list.node = netns_list.first;
	netns_list.ops = ops_of(net);
	netns_list.skip = *key * NETNS_PER_STEP;
	netns_list.seen = 0;
	netns_list.reported = 0;
	bpf_loop(NETNS_MAX, report_netns, &seq, 0);
	/* Where there is nothing more, the read ends. */
	return netns_list.reported == 0;
}

#endif
