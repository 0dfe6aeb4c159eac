/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Which process holds which socket, from the tables of descriptors themselves. iter/task_file,
 * which shows the files one by one, takes and puts a reference to each; and each file, socket and
 * sock is far away in memory, where to wait for one after the other takes most of a scan's time.
 * So descriptors are visited by the chunk: first the next things of all of them are touched, so
 * that they come at the same time, and only then is one after the other read.
 */
#ifndef SOCKLEAK_TASKS_H
#define SOCKLEAK_TASKS_H

#include "files.h"

#define CHUNKS_MAX (1 << 14) /* in one turn */

/* Visits what a descriptor refers to. Returns whether there was room. Verified once. */
__noinline int visit_descriptor(__u64 index)
{
	struct socket *socket = socket_at(index);
	__u32 fd = table.fd + index, tgid = visited.record.tgid;
	struct tcp_sock *sk;
	__u16 protocol;

	if (!socket)
		return 1;
	sk = CAST(tcp_sock, socket->sk);
	protocol = protocol_of(socket, sk, true);
	if (protocol == IPPROTO_TCP)
		return visit_known(NULL, fd, sk, tgid);
	if (protocol == IPPROTO_MPTCP)
		return visit_mptcp(NULL, fd, (struct mptcp_sock *)sk, tgid);
	return 1;
}

static long visit_fd(__u64 index, void *unused)
{
	if (index >= CHUNK || table.fd + index >= table.max_fds)
		return 1;
	wrote = false;
	if (!visit_descriptor(index))
		table.again = true;
	if (table.again) {
		table.fd += index;
		return 1;
	}
	visited.record.open_fds += !!table.chunk[index];
	if (wrote)
		visited.holds = true;
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
	bpf_loop(length, touch_file, NULL, 0);
	bpf_loop(length, touch_socket, NULL, 0);
	bpf_loop(length, touch_sock, NULL, 0);
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

SEC("iter/task")
int scan_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task, *leader;
	struct files_struct *files;

	if (!ctx->task)
		return 0;
	/* As a pointer that the verifier trusts less: of one, it searches all of BTF by name for each load. */
	task = CAST(task_struct, ctx->task);
	leader = task->group_leader;
	files = task->files;
	/* Threads share their leader's files and would count twice. */
	if (!files || (task != leader && files == leader->files))
		return 0;
	learn_socket_file_ops();
	if (table.task != task || table.pid != task->pid) {
		enter_process(0, task);
		table.task = task;
		table.pid = task->pid;
		table.fd = 0;
	}
	table.files = files;
	table.fdt = BPF_CORE_READ(files, fdt);
	table.fds = (__u64 *)BPF_CORE_READ(files, fdt, fd);
	table.max_fds = BPF_CORE_READ(files, fdt, max_fds);
	table.again = false;
	bpf_loop(CHUNKS_MAX, visit_chunks, NULL, 0);
	/* Then the read ends here, and the next begins with this task. */
	if (table.again || table.fd < table.max_fds ||
	    (visited.holds && !keep(&visited.record, sizeof(visited.record))))
		return 1;
	table.task = NULL;
	return 0;
}

#endif
