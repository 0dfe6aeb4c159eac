/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Which process holds which socket, read from the tables of descriptors themselves. iter/task_file,
 * which shows the files one by one, takes and puts a reference to each; and each file, socket and
 * sock is far away in memory, where to wait for one after the other takes most of a scan's time.
 * So descriptors are visited by the chunk: the loads of one kind are made for all of them, so that
 * the processor waits for them together, and only then is one after the other read.
 *
 * With iter/task_file instead, `list` takes 1.3 times as long at 100,000 leaks, and 2.72 +- 0.06 times
 * beside 100,000 healthy connections (6.18, two binaries in one run).
 */
#ifndef SOCKLEAK_TASKS_H
#define SOCKLEAK_TASKS_H

#include "files.h"

#define CHUNKS_MAX (1 << 14) /* in one turn */

/* The process for which a table that several tasks share was visited. */
struct sharer {
	struct process_record record;
	int tgid; /* the kernel's own number */
	__u32 holds;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 14);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64); /* struct files_struct * */
	__type(value, struct sharer);
} shared_files SEC(".maps");

/* The struct socket that is being visited: an argument can be a number only (files.h). */
static __u64 at_hand;

/* Visits it. Returns whether there was room. Not static, so verified once. */
__noinline int visit_at_hand(__u32 fd)
{
	struct socket *socket;
	struct tcp_sock *sk;
	__u16 protocol;

	if (!has_cast)
		return 1;
	socket = CAST(socket, at_hand);
	sk = CAST(tcp_sock, socket->sk);
	protocol = protocol_of(socket, sk, true);
	if (protocol == IPPROTO_TCP)
		return visit_known(NULL, fd, sk, visited.record.tgid);
	if (protocol == IPPROTO_MPTCP)
		return visit_mptcp(NULL, fd, (struct mptcp_sock *)sk, visited.record.tgid);
	return 1;
}

static __always_inline bool visit_socket_known(struct socket *socket, __u32 fd)
{
	at_hand = (__u64)socket;
	return visit_at_hand(fd);
}

/* Notes an io_uring, to visit it when all descriptors have been visited: the call stack is short. */
static __always_inline void note_if_ring(__u32 fd, __u64 file)
{
	__u32 count = rings.count;

	if (!file || (__u64)CAST(file, file)->f_op != ring_file_ops)
		return;
	if (count >= RINGS_MAX) {
		rings_lost++;
		return;
	}
	rings.at[count].file = file;
	rings.at[count].fd = fd;
	rings.count = count + 1;
}

/* Visits what a descriptor refers to. Returns whether there was room. */
static __always_inline bool visit_descriptor(__u64 index)
{
	struct socket *socket = socket_at(index);
	__u32 fd = table.fd + index;

	if (socket) {
		descriptor.is_socket = true;
		return visit_socket_known(socket, fd);
	}
	if (has_ring && index < CHUNK)
		note_if_ring(fd, table.chunk[index]);
	return true;
}

#define RING_SLOTS_MAX (1 << 20) /* in one turn */
#define RING_FILE_FLAGS 7UL /* in the low bits of a pointer to a file */

/*
 * Visits the next slot in the table of files of an io_uring: a socket in it may have no descriptor.
 * That takes none of the process's descriptors, so it is not counted. Returns whether there was room.
 * Only for kernels whose tables are as known here: 6.13 and later.
 */
__noinline int visit_ring_slot(void)
{
	__u64 index = rings.index;
	struct io_rsrc_node *node;
	struct io_ring_ctx *ctx;
	struct socket *socket;

	if (!has_ring || !has_cast || index >= RINGS_MAX)
		return 1;
	if (!rings.slot) {
		ctx = CAST(file, rings.at[index].file)->private_data;
		rings.slots = BPF_CORE_READ(ctx, file_table.data.nr);
		rings.nodes = (__u64 *)BPF_CORE_READ(ctx, file_table.data.nodes);
	}
	if (rings.slot >= rings.slots) {
		rings.index = index + 1;
		rings.slot = 0;
		return 1;
	}
	begin_descriptor(false);
	if (!bpf_probe_read_kernel(&node, sizeof(node), rings.nodes + rings.slot) && node) {
		socket = socket_of(BPF_CORE_READ(node, file_ptr) & ~RING_FILE_FLAGS);
		if (socket && !visit_socket_known(socket, rings.at[index].fd))
			return 0;
	}
	if (table.again)
		return 0;
	if (descriptor.reported)
		visited.holds = true;
	rings.slot++;
	return 1;
}

static long visit_ring_slots(__u64 index, void *unused)
{
	return rings.index >= rings.count || !visit_ring_slot();
}

static long visit_fd(__u64 index, void *unused)
{
	if (index >= CHUNK || table.fd + index >= table.max_fds)
		return 1;
	begin_descriptor(false);
	if (!visit_descriptor(index))
		table.again = true;
	if (table.again) {
		table.fd += index;
		return 1;
	}
	if (table.chunk[index])
		end_descriptor();
	return 0;
}

/* Visits the next chunk. Returns whether that was all of it. Verified once, too. */
__noinline int visit_chunk(void)
{
	__u64 length = table.max_fds - table.fd;

	barrier_var(length);
	if (length > CHUNK)
		length = CHUNK;
	if (bpf_probe_read_kernel(table.chunk, length * sizeof(__u64), table.fds + table.fd)) {
		table.again = true;
		return 0;
	}
	bpf_loop(length, prefetch_file, NULL, 0);
	bpf_loop(length, prefetch_socket, NULL, 0);
	bpf_loop(length, prefetch_sock, NULL, 0);
	bpf_loop(length, visit_fd, NULL, 0);
	if (table.again)
		return 0;
	table.fd += CHUNK;
	return 1;
}

static long visit_chunks(__u64 index, void *unused)
{
	return table.fd >= table.max_fds || !visit_chunk();
}

/* Returns whether a task other than the threads of this leader may have the same table. */
static __always_inline bool is_shared(struct files_struct *files, struct task_struct *task,
				      struct task_struct *leader)
{
	int users = CAST(files_struct, files)->count.counter;

	return users > 1 && (task != leader || users != BPF_CORE_READ(task, signal, nr_threads));
}

/*
 * Notes that the table was visited. Without room for that it will be visited again, which harms
 * nobody. Not inlined, for the stack's sake: it has 512 bytes for all frames together.
 */
static __noinline int note_visited(void)
{
	struct sharer sharer = { .tgid = visited.tgid, .holds = visited.holds };
	__u64 key = (__u64)table.files;

	sharer.record = visited.record;
	return bpf_map_update_elem(&shared_files, &key, &sharer, BPF_ANY);
}

/*
 * Keeps records of a process whose table was visited for another one: that they hold the same. Of a
 * thread of that process (its leader may have exited) there is nothing to say. Returns whether there
 * was room.
 */
static __always_inline bool keep_same_files(struct task_struct *task, struct sharer *sharer)
{
	struct process_record *counted = &sharer->record;
	struct same_files_record same = { .kind = RECORD_SAME_FILES, .as = counted->tgid };

	if (sharer->tgid == task->tgid || !sharer->holds)
		return true;
	enter_process(0, task);
	same.tgid = visited.record.tgid;
	visited.record.open_fds = counted->open_fds;
	visited.record.connected = counted->connected;
	visited.record.listening = counted->listening;
	visited.record.closed = counted->closed;
	visited.record.other_sockets = counted->other_sockets;
	visited.record.idle = counted->idle;
	visited.record.idle_unguarded = counted->idle_unguarded;
	return keep(&visited.record, sizeof(visited.record)) && keep(&same, sizeof(same));
}

SEC("iter/task")
int scan_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task, *leader;
	struct files_struct *files;
	struct sharer *sharer;
	bool shared;
	__u64 key;

	if (!ctx->task)
		return 0;
	/* As a pointer that the verifier trusts less: of the other, it searches all of BTF by name for each load. */
	task = CAST(task_struct, ctx->task);
	leader = task->group_leader;
	files = task->files;
	/* Threads share their leader's files and would count twice. */
	if (!files || (task != leader && files == leader->files))
		return 0;
	learn_file_ops();
	shared = is_shared(files, task, leader);
	if (table.task != task || table.pid != task->pid) {
		if (is_exiting(task))
			return 0;
		key = (__u64)files;
		sharer = shared ? bpf_map_lookup_elem(&shared_files, &key) : NULL;
		if (sharer)
			return !keep_same_files(task, sharer);
		enter_process(0, task);
		table.task = task;
		table.pid = task->pid;
		table.fd = 0;
		rings.count = 0;
		rings.index = 0;
		rings.slot = 0;
	}
	table.files = files;
	table.fdt = BPF_CORE_READ(files, fdt);
	table.fds = (__u64 *)BPF_CORE_READ(files, fdt, fd);
	table.max_fds = BPF_CORE_READ(files, fdt, max_fds);
	table.again = false;
	bpf_loop(CHUNKS_MAX, visit_chunks, NULL, 0);
	if (has_ring && !table.again && table.fd >= table.max_fds) {
		rings.visiting = true;
		bpf_loop(RING_SLOTS_MAX, visit_ring_slots, NULL, 0);
		rings.visiting = false;
	}
	/* To return 1 ends the read here; the next one begins with this task. */
	if (table.again || table.fd < table.max_fds || rings.index < rings.count ||
	    (visited.holds && !keep(&visited.record, sizeof(visited.record))))
		return 1;
	if (shared)
		note_visited();
	table.task = NULL;
	return 0;
}

#endif
